//! What happens now: one task reads the last hour of events, and all viewers are shown what it found.

pub mod events;
pub mod watch;
pub mod window;
