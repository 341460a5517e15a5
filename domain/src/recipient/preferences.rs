//! What a recipient wants to be reached with, and when not.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::notification::{Category, Channel};

/// Channels that are switched on or off; what is not named is left to whoever decides next.
pub type Switches = BTreeMap<Channel, bool>;

/// A change replaces the whole of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// For every category that says nothing else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub channels: Switches,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub categories: BTreeMap<Category, Switches>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
}

impl Preferences {
    /// Categories that one recipient may have a word on.
    pub const CATEGORIES_MAX: usize = 200;

    /// The recipient's word on a channel for a category: the category's own, else the general one.
    pub fn wants(&self, category: Option<&Category>, channel: Channel) -> Option<bool> {
        let of_category = category.and_then(|category| self.categories.get(category));
        let switch = of_category.and_then(|switches| switches.get(&channel));
        switch.or_else(|| self.channels.get(&channel)).copied()
    }
}

/// Every day from one time of the recipient's clock to another, over midnight where the end is not after the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    pub from: LocalTime,
    pub to: LocalTime,
}

/// A minute of any day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LocalTime {
    pub hour: u8,
    pub minute: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a time of day such as `22:00`")]
pub struct InvalidLocalTime;

impl FromStr for LocalTime {
    type Err = InvalidLocalTime;

    fn from_str(text: &str) -> Result<Self, InvalidLocalTime> {
        let (hour, minute) = text.split_once(':').ok_or(InvalidLocalTime)?;
        let number = |digits: &str, below: u8| {
            let shaped = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|number| shaped && *number < below).ok_or(InvalidLocalTime)
        };
        Ok(Self { hour: number(hour, 24)?, minute: number(minute, 60)? })
    }
}

impl TryFrom<String> for LocalTime {
    type Error = InvalidLocalTime;

    fn try_from(text: String) -> Result<Self, InvalidLocalTime> {
        text.parse()
    }
}

impl From<LocalTime> for String {
    fn from(time: LocalTime) -> Self {
        time.to_string()
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}
