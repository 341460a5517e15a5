//! What a key may do. A key has scopes, an operation names those it needs, and `admin` is all of them.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Create and cancel notifications, report and retry deliveries.
    NotificationsWrite,
    /// Look at notifications, their deliveries and their history.
    NotificationsRead,
    /// Read inboxes, live too.
    InboxRead,
    /// Mark what is in inboxes.
    InboxWrite,
    /// Read the log, and inboxes as they were.
    EventsRead,
    /// Every scope of the key's tenant.
    Admin,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be notifications:write, notifications:read, inbox:read, inbox:write, events:read or admin")]
pub struct UnknownScope;

impl Scope {
    pub const ALL: [Self; 6] = [
        Self::NotificationsWrite,
        Self::NotificationsRead,
        Self::InboxRead,
        Self::InboxWrite,
        Self::EventsRead,
        Self::Admin,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::NotificationsWrite => "notifications:write",
            Self::NotificationsRead => "notifications:read",
            Self::InboxRead => "inbox:read",
            Self::InboxWrite => "inbox:write",
            Self::EventsRead => "events:read",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|scope| scope.name() == text).ok_or(UnknownScope)
    }
}

/// Some scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether whoever has these may do what this one is needed for.
    pub fn allow(self, needed: Scope) -> bool {
        self.0 & (needed.bit() | Scope::Admin.bit()) != 0
    }

    /// Those it was made of.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & scope.bit() != 0)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

#[cfg(test)]
mod tests {
    //! Names read back, and scopes allow what they name.
    use super::*;

    #[test]
    fn every_scope_reads_back_and_stands_in_the_sentence_that_lists_them() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
            assert!(UnknownScope.to_string().contains(scope.name()));
        }
        for unknown in ["", "Admin", "inbox", "inbox:read ", "root"] {
            assert_eq!(unknown.parse::<Scope>(), Err(UnknownScope), "{unknown}");
        }
    }

    #[test]
    fn a_scope_allows_itself_alone_and_admin_everything() {
        for held in Scope::ALL {
            let scopes = Scopes::from_iter([held]);
            assert_eq!(scopes.iter().collect::<Vec<_>>(), [held]);
            for needed in Scope::ALL {
                assert_eq!(scopes.allow(needed), held == needed || held == Scope::Admin, "{held} {needed}");
            }
        }
        assert!(Scope::ALL.iter().all(|needed| !Scopes::from_iter([]).allow(*needed)));
    }
}
