//! Live progress on a terminal: a line for each running step, a tally below, finished steps above.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mlp_model::Event;

use super::plain::lines;
use super::{Reporter, words};

pub struct TerminalReporter {
    bars: MultiProgress,
    running: BTreeMap<String, ProgressBar>,
    tally: ProgressBar,
    reused: usize,
    failed: usize,
    saved: usize,
    colour: bool,
}

impl TerminalReporter {
    pub fn new(colour: bool) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let tally = bars.add(ProgressBar::new(0));
        tally.set_style(style("  [{bar:20}] {pos} of {len}  {msg}"));
        Self { bars, running: BTreeMap::new(), tally, reused: 0, failed: 0, saved: 0, colour }
    }

    fn print(&self, name: &str, text: &str, mark: Mark) {
        let (symbol, code) = match mark {
            Mark::Good => ("✓", "32"),
            Mark::Bad => ("✗", "31"),
            Mark::Neutral => (" ", "0"),
        };
        let symbol = if self.colour { format!("\u{1b}[{code}m{symbol}\u{1b}[0m") } else { symbol.to_owned() };
        let _ = self.bars.println(format!("  {name:<20} {symbol} {text}"));
    }

    fn end(&mut self, step: &str) {
        if let Some(bar) = self.running.remove(step) {
            bar.finish_and_clear();
        }
        self.tally.inc(1);
    }

    fn update_tally(&self) {
        let (running, reused, failed) = (self.running.len(), self.reused, self.failed);
        let saved = if self.saved > 0 { format!("  saved {}", self.saved) } else { String::new() };
        self.tally.set_message(format!("running {running}  reused {reused}{saved}  failed {failed}"));
    }
}

#[derive(Clone, Copy)]
enum Mark {
    Good,
    Bad,
    Neutral,
}

impl Reporter for TerminalReporter {
    fn event(&mut self, event: &Event) {
        let mut mark = Mark::Neutral;
        match event {
            Event::RunStarted { n_steps, .. } => self.tally.set_length(*n_steps as u64),
            Event::StepStarted { step, reason, .. } => {
                let bar = self.bars.insert_before(&self.tally, ProgressBar::new_spinner());
                bar.set_style(style("  {prefix:20} {spinner} {wide_msg} {elapsed}"));
                bar.set_prefix(step.clone());
                bar.set_message(reason.clone());
                bar.enable_steady_tick(Duration::from_millis(120));
                self.running.insert(step.clone(), bar);
            }
            Event::StepProgressed { step, progress, .. } => {
                if let Some(bar) = self.running.get(step) {
                    bar.set_message(words::progress(progress));
                }
            }
            Event::StepPrinted { step, line, .. } => {
                if let Some(bar) = self.running.get(step) {
                    bar.set_message(line.clone());
                }
            }
            Event::StepFinished { step, .. } => {
                self.end(step);
                mark = Mark::Good;
            }
            Event::StepReused { step, .. } => {
                self.end(step);
                self.reused += 1;
                mark = Mark::Good;
            }
            Event::StepFailed { step, will_retry, .. } => {
                if *will_retry {
                    if let Some(bar) = self.running.remove(step) {
                        bar.finish_and_clear();
                    }
                } else {
                    self.end(step);
                    self.failed += 1;
                }
                mark = Mark::Bad;
            }
            Event::StepSkipped { step, .. } => self.end(step),
            Event::GatePassed { .. } | Event::Released { .. } | Event::ReleaseKept { .. } => mark = Mark::Good,
            Event::GateRefused { .. }
            | Event::ReleaseRefused { .. }
            | Event::ReleaseHeld { .. }
            | Event::RoundsFailed { .. } => mark = Mark::Bad,
            Event::LoopUnfolded { n_steps, .. } => self.tally.set_length(*n_steps as u64),
            Event::Planned { .. } | Event::StepWaits { .. } => {}
            Event::CutOff { n_saved, .. } => {
                self.saved += n_saved;
                mark = Mark::Good;
            }
            Event::RunFinished { .. } => self.tally.finish_and_clear(),
        }
        for (i, (name, text)) in lines(event).into_iter().enumerate() {
            self.print(&name, &text, if i == 0 { mark } else { Mark::Neutral });
        }
        self.update_tally();
    }
}

impl Drop for TerminalReporter {
    fn drop(&mut self) {
        for bar in self.running.values() {
            bar.finish_and_clear();
        }
        self.tally.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a broken one would show at once.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
