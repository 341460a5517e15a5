//! Reading a stored event into a type of the domain. The name is a column of the log, not a member of the payload.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Why a stored event cannot be read by this binary.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A newer node wrote it: wait for a newer binary, never skip it.
    #[error("event {name} of version {version} is unknown to this binary")]
    Unknown { name: String, version: String },
    #[error("event {name} of version {version} is malformed")]
    Malformed { name: String, version: String, source: serde_json::Error },
}

impl DecodeError {
    pub fn unknown(name: &str, version: &str) -> Self {
        Self::Unknown { name: name.into(), version: version.into() }
    }

    pub fn malformed(name: &str, version: &str, source: serde_json::Error) -> Self {
        Self::Malformed { name: name.into(), version: version.into(), source }
    }
}

/// The events of an aggregate, as they are stored.
pub trait Stored: cqrs_es::DomainEvent {
    /// The version this binary writes under a stored name; `None` for a name it does not know.
    /// Semantic versions, because the framework's upcasters silently skip anything else.
    fn version_of(name: &str) -> Option<&'static str>;

    /// Reads a stored, opened and upcast event.
    fn decode(name: &str, version: &str, payload: &Value) -> Result<Self, DecodeError>;
}

/// Fails for what this binary does not write itself: upcasters have lifted everything older.
pub(crate) fn check_version<E: Stored>(name: &str, version: &str) -> Result<(), DecodeError> {
    if E::version_of(name) == Some(version) { Ok(()) } else { Err(DecodeError::unknown(name, version)) }
}

/// Reads an enum that is tagged with the stored name.
pub(crate) fn tagged<E: Stored + DeserializeOwned>(
    name: &str,
    version: &str,
    payload: &Value,
) -> Result<E, DecodeError> {
    let malformed = |source| DecodeError::malformed(name, version, source);
    let mut members = Map::deserialize(payload).map_err(malformed)?;
    members.insert("type".into(), name.into());
    serde_json::from_value(Value::Object(members)).map_err(malformed)
}

/// Tells the framework and the log what the events of an aggregate are called, and which version of each this binary writes. What
/// is read otherwise than [`tagged`] does it names a function.
macro_rules! stored {
    ($event:ty { $($pattern:pat => $name:literal @ $version:literal,)+ }) => {
        $crate::decode::stored! { $event { $($pattern => $name @ $version,)+ } by $crate::decode::tagged }
    };
    ($event:ty { $($pattern:pat => $name:literal @ $version:literal,)+ } by $decode:path) => {
        impl $event {
            /// The stored name.
            pub fn name(&self) -> &'static str {
                match self {
                    $($pattern => $name,)+
                }
            }
        }

        impl $crate::decode::Stored for $event {
            fn version_of(name: &str) -> Option<&'static str> {
                match name {
                    $($name => Some($version),)+
                    _ => None,
                }
            }

            fn decode(
                name: &str,
                version: &str,
                payload: &serde_json::Value,
            ) -> Result<Self, $crate::decode::DecodeError> {
                $crate::decode::check_version::<Self>(name, version)?;
                $decode(name, version, payload)
            }
        }

        impl cqrs_es::DomainEvent for $event {
            fn event_type(&self) -> String {
                self.name().into()
            }

            fn event_version(&self) -> String {
                let version = <Self as $crate::decode::Stored>::version_of(self.name());
                version.expect("every event of the enum has a version").into()
            }
        }
    };
}

pub(crate) use stored;
