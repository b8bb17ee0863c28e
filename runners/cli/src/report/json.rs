//! `--json`: one event a line on standard output, the last one `run_finished`.

use std::io::Write;

use mlp_model::Event;

use super::Reporter;

pub struct JsonReporter<W: Write + Send>(pub W);

impl<W: Write + Send> Reporter for JsonReporter<W> {
    fn event(&mut self, event: &Event) {
        // A reader that went away (`| head`) is no reason to end the run.
        if let Ok(line) = serde_json::to_string(event) {
            let _ = writeln!(self.0, "{line}").and_then(|()| self.0.flush());
        }
    }
}
