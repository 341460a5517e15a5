//! Ways to people outside of the service.

mod guard;

pub use guard::OutgoingPolicy;
