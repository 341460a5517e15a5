//! What a message consists of, and the id of each part in Fluent.

/// A part that some channel shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    Title,
    Body,
    ActionUrl,
    EmailSubject,
    EmailText,
    EmailHtml,
    Slack,
}

impl Part {
    pub const ALL: [Self; 7] = [
        Self::Title,
        Self::Body,
        Self::ActionUrl,
        Self::EmailSubject,
        Self::EmailText,
        Self::EmailHtml,
        Self::Slack,
    ];

    /// What an inbox shows.
    pub const IN_APP: [Self; 3] = [Self::Title, Self::Body, Self::ActionUrl];

    /// What every template says; all others fall back to these.
    pub const REQUIRED: [Self; 1] = [Self::Title];

    pub fn id(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Body => "body",
            Self::ActionUrl => "action-url",
            Self::EmailSubject => "email-subject",
            Self::EmailText => "email-text",
            Self::EmailHtml => "email-html",
            Self::Slack => "slack",
        }
    }

    /// Whether arguments are escaped in it.
    pub fn is_html(self) -> bool {
        self == Self::EmailHtml
    }
}
