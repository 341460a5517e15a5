//! The frames a client receives, as JSON text. An event is encoded once, whoever is listening.

use std::sync::Arc;

use serde_json::{Value, json};
use tidings_projections::inbox::{Counts, rfc3339};
use tidings_projections::log::Cursor;
use time::OffsetDateTime;

use crate::telemetry::traces::Trace;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    Welcome,
    Event,
    Sync,
    Reset,
    TokenExpiring,
    Reply,
    Error,
    Closing,
}

impl FrameKind {
    /// The `type` member, which is also the event name of SSE.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::Event => "event",
            Self::Sync => "sync",
            Self::Reset => "reset",
            Self::TokenExpiring => "token_expiring",
            Self::Reply => "reply",
            Self::Error => "error",
            Self::Closing => "closing",
        }
    }
}

/// A frame ready to send.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: FrameKind,
    /// What a client stores after it: everything up to here, and these counts.
    pub cursor: Option<Cursor>,
    pub counts: Counts,
    pub json: Arc<str>,
    /// When its event was committed, for one that is sent as it happens.
    pub recorded_at: Option<OffsetDateTime>,
    /// What it is part of, where that is traced, and when it was put into the queue.
    pub trace: Option<(Trace, OffsetDateTime)>,
}

impl Frame {
    pub fn welcome(
        connection_id: &str,
        user_id: &str,
        cursor: Cursor,
        counts: Counts,
        resumed: bool,
        heartbeat_ms: u128,
    ) -> Self {
        let json = json!({
            "type": "welcome", "connection_id": connection_id, "user_id": user_id,
            "cursor": cursor.to_string(), "unread": counts.unread, "unseen": counts.unseen,
            "resumed": resumed, "heartbeat_ms": heartbeat_ms,
        });
        Self {
            kind: FrameKind::Welcome,
            cursor: Some(cursor),
            counts,
            recorded_at: None,
            trace: None,
            json: json.to_string().into(),
        }
    }

    /// `item` is the JSON of the item after the change, spliced in as it is.
    pub fn event(cursor: Cursor, event_type: &str, counts: Counts, item: &str) -> Self {
        let Counts { unread, unseen } = counts;
        let json = format!(
            r#"{{"type":"event","cursor":"{cursor}","event":"{event_type}","unread":{unread},"unseen":{unseen},"notification":{item}}}"#
        );
        Self {
            kind: FrameKind::Event,
            cursor: Some(cursor),
            counts,
            recorded_at: None,
            trace: None,
            json: json.into(),
        }
    }

    pub fn sync(cursor: Cursor, counts: Counts) -> Self {
        let Counts { unread, unseen } = counts;
        let json = format!(r#"{{"type":"sync","cursor":"{cursor}","unread":{unread},"unseen":{unseen}}}"#);
        Self {
            kind: FrameKind::Sync,
            cursor: Some(cursor),
            counts,
            recorded_at: None,
            trace: None,
            json: json.into(),
        }
    }

    /// Drop all state, read the inbox, go on from its cursor.
    pub fn reset(reason: &str, cursor: Cursor, counts: Counts) -> Self {
        let json = json!({
            "type": "reset", "reason": reason, "cursor": cursor.to_string(),
            "unread": counts.unread, "unseen": counts.unseen,
        });
        Self {
            kind: FrameKind::Reset,
            cursor: Some(cursor),
            counts,
            recorded_at: None,
            trace: None,
            json: json.to_string().into(),
        }
    }

    /// The token behind the connection expires soon: send a new one.
    pub fn token_expiring(expires_at: OffsetDateTime) -> Self {
        Self::notice(
            FrameKind::TokenExpiring,
            json!({"type": "token_expiring", "expires_at": rfc3339(expires_at)}),
        )
    }

    /// The command with this `ref` is done; `cursor` is where.
    pub fn reply(reference: &str, cursor: Cursor) -> Self {
        Self::notice(
            FrameKind::Reply,
            json!({"type": "reply", "ref": reference, "cursor": cursor.to_string()}),
        )
    }

    /// `problem` is one as HTTP answers it, as JSON.
    pub fn error(reference: Option<&str>, problem: &str) -> Self {
        let reference = reference.map_or_else(String::new, |text| format!(r#""ref":{},"#, json!(text)));
        let json = format!(r#"{{"type":"error",{reference}"problem":{problem}}}"#);
        Self {
            kind: FrameKind::Error,
            cursor: None,
            counts: Counts::default(),
            json: json.into(),
            recorded_at: None,
            trace: None,
        }
    }

    pub fn closing(close: Close, retry_in_ms: u64) -> Self {
        let code = close.code();
        Self::notice(FrameKind::Closing, json!({"type": "closing", "code": code, "retry_in_ms": retry_in_ms}))
    }

    /// There is no coming back.
    pub fn closing_for_good(close: Close) -> Self {
        Self::notice(FrameKind::Closing, json!({"type": "closing", "code": close.code()}))
    }

    /// A frame that says nothing about the inbox.
    fn notice(kind: FrameKind, json: Value) -> Self {
        let json = json.to_string().into();
        Self { kind, cursor: None, counts: Counts::default(), json, recorded_at: None, trace: None }
    }
}

/// Why a connection ends. 4000 to 4499: reconnect with your cursor; 4500 to 4999: not by yourself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    GoingAway,
    TooSlow,
    TokenExpired,
    NoPong,
    TooManyFrames,
    Unauthorized,
    BadRequest,
    TooManyConnections,
    /// The key behind it was revoked, or has expired.
    Revoked,
}

impl Close {
    pub fn code(self) -> u16 {
        match self {
            Self::GoingAway => 4001,
            Self::TooSlow => 4002,
            Self::TokenExpired => 4003,
            Self::NoPong => 4005,
            Self::TooManyFrames => 4006,
            Self::Unauthorized => 4500,
            Self::BadRequest => 4501,
            Self::TooManyConnections => 4502,
            Self::Revoked => 4503,
        }
    }

    pub fn reason(self) -> &'static str {
        match self {
            Self::GoingAway => "going away",
            Self::TooSlow => "too slow",
            Self::TokenExpired => "token expired",
            Self::NoPong => "no pong",
            Self::TooManyFrames => "too many frames",
            Self::Unauthorized => "unauthorized",
            Self::BadRequest => "bad frame or cursor",
            Self::TooManyConnections => "too many connections",
            Self::Revoked => "revoked",
        }
    }
}
