//! What every request passes on its way in, and every answer on its way out.

pub mod access;
pub mod backend;
pub mod body;
pub mod closed;
pub mod credentials;
pub mod methods;
pub mod next;
pub mod origins;
pub mod parameter;
pub mod problem;
pub mod rate_limit;
pub mod reads;
pub mod request;
pub mod request_id;
