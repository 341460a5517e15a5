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

    /// What arguments could be taken for in it, were they not escaped.
    pub fn markup(self) -> Option<Markup> {
        match self {
            Self::EmailHtml => Some(Markup::Html),
            Self::Slack => Some(Markup::Slack),
            Self::Title | Self::Body | Self::ActionUrl | Self::EmailSubject | Self::EmailText => None,
        }
    }
}

/// A language in which some letters mean more than themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Markup {
    Html,
    /// <https://docs.slack.dev/messaging/formatting-message-text>, "Escaping text".
    Slack,
}

impl Markup {
    /// As text that means itself, in HTML in a quoted attribute, too.
    pub fn escaped(self, text: &str) -> String {
        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            match (c, self) {
                ('&', _) => escaped.push_str("&amp;"),
                ('<', _) => escaped.push_str("&lt;"),
                ('>', _) => escaped.push_str("&gt;"),
                ('"', Self::Html) => escaped.push_str("&quot;"),
                ('\'', Self::Html) => escaped.push_str("&#39;"),
                (c, _) => escaped.push(c),
            }
        }
        escaped
    }
}
