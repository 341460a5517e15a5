//! The codec of stored payloads: personal members and secrets are sealed in the table and open everywhere else.
//!
//! At rest, the members named by [`PERSONAL_MEMBERS`] and [`SECRET_MEMBER`] are replaced by
//! `"sealed": {"key": <id>, "box": <base64 of nonce and ciphertext>}`, AES-256-GCM under the recipient's key, or the tenant's own
//! where the event concerns no user (NIST SP 800-38D, random 96-bit nonce), bound to the event's place so that no box can be moved
//! to another.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use tidings_domain::{PERSONAL_MEMBERS, SECRET_MEMBER};

use super::keys::{KeyError, KeyRing, RecipientKey};

const SEALED: &str = "sealed";
/// Whose key seals what concerns no user: no user's name is empty.
const TENANT_ITSELF: &str = "";
const NONCE_BYTES: usize = 12;

#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the sealed part of {aggregate_id} #{sequence} cannot be opened: {why}")]
    Damaged { aggregate_id: String, sequence: i64, why: &'static str },
}

/// Where an event stands: what its sealed part is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub aggregate_id: &'a str,
    pub sequence: i64,
    pub event_type: &'a str,
}

impl Place<'_> {
    fn associated_data(&self) -> Vec<u8> {
        format!("{}\n{}\n{}", self.aggregate_id, self.sequence, self.event_type).into_bytes()
    }

    fn damaged(&self, why: &'static str) -> CodecError {
        CodecError::Damaged { aggregate_id: self.aggregate_id.into(), sequence: self.sequence, why }
    }
}

#[derive(Clone)]
pub struct Codec {
    keys: KeyRing,
}

impl Codec {
    pub fn new(keys: KeyRing) -> Self {
        Self { keys }
    }

    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// The payload as it is stored, as JSON text. One without members to seal needs no key and stays as it is.
    pub async fn seal(
        &self,
        place: Place<'_>,
        tenant: &str,
        recipient: Option<&str>,
        open: &Map<String, Value>,
    ) -> Result<String, CodecError> {
        let key = match open.keys().any(|name| is_sealed(name)) {
            true => Some(self.keys.of_recipient(tenant, recipient.unwrap_or(TENANT_ITSELF)).await?),
            false => None,
        };
        Ok(seal_with(key.as_deref(), place, open))
    }

    /// The key that a stored payload is sealed with, if it is sealed.
    pub fn key_of(stored: &Value) -> Option<i64> {
        stored.get(SEALED)?["key"].as_i64()
    }

    /// The payload as it was before sealing. Where the key was destroyed the personal members are gone, and
    /// that is no error: the person asked to be forgotten.
    pub async fn open(&self, place: Place<'_>, stored: Value) -> Result<Value, CodecError> {
        let Value::Object(mut members) = stored else { return Ok(stored) };
        let Some(sealed) = members.remove(SEALED) else { return Ok(Value::Object(members)) };
        let key_id = sealed["key"].as_i64().ok_or_else(|| place.damaged("it names no key"))?;
        if let Some(key) = self.keys.by_id(key_id).await? {
            open_with(&key, place, &sealed, &mut members)?;
        }
        Ok(Value::Object(members))
    }
}

/// The payload as it is stored, sealed where there is a key.
pub fn seal_with(key: Option<&RecipientKey>, place: Place<'_>, open: &Map<String, Value>) -> String {
    let stored = AtRest { open, sealed: key.map(|key| Sealed::new(key, place, open)) };
    serde_json::to_string(&stored).expect("strings and JSON values always serialise")
}

/// The members of a payload that are sealed, in a box.
#[derive(serde::Serialize)]
struct Sealed {
    key: i64,
    r#box: String,
}

impl Sealed {
    fn new(key: &RecipientKey, place: Place<'_>, open: &Map<String, Value>) -> Self {
        let plain = serde_json::to_vec(&Hidden(open)).expect("strings and JSON values always serialise");
        let nonce = Aes256Gcm::generate_nonce(&mut OsRng);
        let sealed = Aes256Gcm::new(&key.secret.into())
            .encrypt(&nonce, Payload { msg: &plain, aad: &place.associated_data() })
            .expect("a payload is far below the 64 GiB that AES-GCM can seal");
        Self { key: key.id, r#box: BASE64.encode([&nonce[..], &sealed].concat()) }
    }
}

/// Only those members of a payload.
struct Hidden<'a>(&'a Map<String, Value>);

impl Serialize for Hidden<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(name, _)| is_sealed(name)))
    }
}

/// A payload as it is stored: what was sealed stands as `sealed`, the rest as it is.
struct AtRest<'a> {
    open: &'a Map<String, Value>,
    sealed: Option<Sealed>,
}

impl Serialize for AtRest<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        for (name, value) in self.open.iter().filter(|(name, _)| self.sealed.is_none() || !is_sealed(name)) {
            members.serialize_entry(name, value)?;
        }
        if let Some(sealed) = &self.sealed {
            members.serialize_entry(SEALED, sealed)?;
        }
        members.end()
    }
}

fn is_sealed(name: &str) -> bool {
    name == SECRET_MEMBER || PERSONAL_MEMBERS.contains(&name)
}

/// Adds the sealed members to the others.
pub fn open_with(
    key: &RecipientKey,
    place: Place<'_>,
    sealed: &Value,
    members: &mut Map<String, Value>,
) -> Result<(), CodecError> {
    let text = sealed["box"].as_str().ok_or_else(|| place.damaged("it has no box"))?;
    let bytes = BASE64.decode(text).map_err(|_| place.damaged("its box is not base64"))?;
    let (nonce, sealed) =
        bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(|| place.damaged("its box is too short"))?;
    let plain = Aes256Gcm::new(&key.secret.into())
        .decrypt(&(*nonce).into(), Payload { msg: sealed, aad: &place.associated_data() })
        .map_err(|_| place.damaged("its seal is broken"))?;
    let personal: Map<String, Value> =
        serde_json::from_slice(&plain).map_err(|_| place.damaged("it holds no JSON object"))?;
    members.extend(personal);
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Sealing hides and binds; opening restores.
    use serde_json::json;

    use super::*;

    const PLACE: Place<'_> = Place { aggregate_id: "ntf_1", sequence: 1, event_type: "notification.created" };

    fn key() -> RecipientKey {
        RecipientKey { id: 7, secret: [9; 32] }
    }

    fn open_members() -> Map<String, Value> {
        let Value::Object(members) =
            json!({"user_id": "alice", "content": {"title": "Rent is due"}, "data": {"n": 1}})
        else {
            unreachable!("an object literal")
        };
        members
    }

    #[test]
    fn sealed_members_are_neither_named_nor_readable_and_open_to_what_they_were() {
        let open = open_members();
        let sealed = Some(Sealed::new(&key(), PLACE, &open));
        let text = serde_json::to_string(&AtRest { open: &open, sealed }).expect("serialises");
        let mut stored: Value = serde_json::from_str(&text).expect("is JSON");
        assert!(!text.contains("Rent") && !text.contains("content") && text.contains("alice"), "{text}");
        let members = stored.as_object_mut().expect("an object");
        let sealed = members.remove(SEALED).expect("sealed");
        open_with(&key(), PLACE, &sealed, members).expect("opens");
        assert_eq!(*members, open_members());
    }

    #[test]
    fn a_box_moved_to_another_event_or_altered_does_not_open() {
        let sealed = &serde_json::to_value(Sealed::new(&key(), PLACE, &open_members())).expect("serialises");
        let elsewhere = Place { sequence: 2, ..PLACE };
        assert!(open_with(&key(), elsewhere, sealed, &mut Map::new()).is_err());
        let other_key = RecipientKey { id: 7, secret: [8; 32] };
        assert!(open_with(&other_key, PLACE, sealed, &mut Map::new()).is_err());
        for broken in
            [json!({"key": 7}), json!({"key": 7, "box": "AA"}), json!({"key": 7, "box": "not base64!"})]
        {
            assert!(open_with(&key(), PLACE, &broken, &mut Map::new()).is_err(), "{broken}");
        }
    }
}
