//! Shows events: on a terminal, as plain lines, as JSON lines; and records them for `mlp log`.
//!
//! Every reporter reads the same [`Event`]s, live or from a recorded run. None knows the engine or the store.

mod behind;
mod json;
mod plain;
mod recorder;
mod terminal;
pub mod words;

pub use behind::Behind;
pub use json::JsonReporter;
pub use plain::PlainReporter;
pub use recorder::{EVENTS_FILE, Recorder, step_log};
pub use terminal::TerminalReporter;

use mlp_model::Event;

/// Consumes the events of one run in order.
pub trait Reporter: Send {
    fn event(&mut self, event: &Event);
}
