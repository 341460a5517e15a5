//! Values as texts on the wire, and whether one is what it says.

pub mod addresses;
pub mod duration;
pub mod instant;
