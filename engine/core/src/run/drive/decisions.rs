//! The run loop's part in decisions: gathers what gates and releases need, and tells how they came out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mlp_model::{ArtifactKind, CheckResult, Event, NodeKind, OutputRecord, Part, Record, RunId, fail_point};

use super::{Drive, Message};
use crate::bundle::{BundlePart, Pinned};
use crate::gate::{self, GateOutcome};
use crate::resolve::{self, LeftOut};
use crate::run::decide::{self, Candidate, Reading, ReleaseOutcome, Releaser};
use crate::run::{GateResult, ReleaseResult};
use crate::scheduler::Because;

impl<F: FnMut(&Event) + Send> Drive<'_, F> {
    pub(super) fn decide_gate(&mut self, step: usize) {
        let NodeKind::Gate(declared) = &self.ctx.node(step).kind else { return };
        let report_of = |node: usize| {
            let outputs = self.outputs[node].iter().flat_map(|outputs| outputs.iter());
            outputs.clone().find(|output| output.kind == ArtifactKind::Report).map(|output| output.digest)
        };
        let reading = |node: usize| match report_of(node) {
            Some(digest) => Reading::Report(digest),
            None if self.is_left_out[node] || self.scheduler.tolerance().is_forgone(node) => Reading::LeftOut,
            None => Reading::NoChampion,
        };
        let read = gate::nodes_read(declared);
        let (lost, read): (BTreeSet<usize>, BTreeSet<usize>) =
            read.into_iter().partition(|node| self.scheduler.tolerance().is_lost(*node, step));
        let reports: BTreeMap<usize, Reading> = read.into_iter().map(|node| (node, reading(node))).collect();
        self.work(
            step,
            move |ctx| decide::decide_gate(ctx, step, reports, &lost),
            move |result| Message::GateDecided { step, result },
        );
    }

    pub(super) fn on_gate_decided(&mut self, step: usize, decided: GateOutcome) {
        fail_point("gate.decided");
        let GateOutcome { passed, checks } = decided;
        let (run, gate, at) = (self.request.run.clone(), self.name(step), (self.clock)());
        self.has_refused[step] = !passed;
        let id = self.step_id(step);
        self.records.push(Record::GateDecided { run: run.clone(), gate: id, passed, checks: checks.clone(), at });
        self.outcome.gate_results.push(GateResult { gate: gate.clone(), passed, checks: checks.clone() });
        self.emit(gate_event(run, gate, passed, checks));
        match passed {
            true => self.outcome.gates.passed += 1,
            false => self.outcome.gates.refused += 1,
        }
        self.scheduler.on_decided(step);
    }

    pub(super) fn decide_release(&mut self, step: usize, blocked: Option<Because>) {
        if let Some(because) = blocked {
            self.note_cause(because);
        }
        let NodeKind::Release(declared) = &self.ctx.node(step).kind else { return };
        let name = declared.name.clone();
        let refused = declared.gates.iter().find(|&&gate| self.has_refused[gate]);
        let because = match blocked {
            Some(because) => Some(self.words(because)),
            None => refused.map(|&gate| format!("gate `{}` refused", self.name(gate))),
        };
        let because = because.or_else(|| declared.parts.values().find_map(|part| self.left_out(part)));
        let parts: BTreeMap<String, Candidate> = match because {
            None => declared.parts.iter().map(|(part, made)| (part.clone(), self.candidate(made))).collect(),
            Some(_) => BTreeMap::new(),
        };
        // The decisions that led here are recorded before the release is.
        self.flush();
        let (run, host, clock) = (self.request.run.clone(), self.request.host.clone(), Arc::clone(&self.clock));
        self.work(
            step,
            move |ctx| match because {
                Some(because) => decide::refuse(&*ctx.store, &name, because),
                None => {
                    let by = Releaser { run: &run, host: &host, now: &*clock };
                    decide::decide_release(ctx, &name, parts, &by)
                }
            },
            move |result| Message::ReleaseDecided { step, result },
        );
    }

    /// Says that a part is an output which its step has left out.
    fn left_out(&self, part: &Part) -> Option<String> {
        let Part::Output { node, output } = part else { return None };
        let is_made = self.outputs[*node].as_ref()?.iter().any(|made| made.name == *output);
        let place = self.ctx.call(*node).outputs.iter().position(|declared| declared.name == *output)?;
        (!is_made).then(|| resolve::say_left_out(&self.ctx, LeftOut { node: *node, output: place }))
    }

    fn candidate(&self, part: &Part) -> Candidate {
        match part {
            Part::Value(value) => Candidate::Ready(BundlePart::Value { value: value.clone() }),
            Part::Output { node, output } => {
                let made = self.outputs[*node].iter().flat_map(|outputs| outputs.iter());
                let made = made.clone().find(|made: &&OutputRecord| made.name == *output);
                match made {
                    Some(made) => {
                        Candidate::Ready(BundlePart::Artifact(Pinned { kind: made.kind, digest: made.digest }))
                    }
                    None => Candidate::Absent(format!("{}.{output}", self.name(*node))),
                }
            }
            Part::Transform { node } => match &self.resolved[*node] {
                Some(resolved) => Candidate::Transform { idx: *node, inputs: resolved.inputs.clone() },
                None => Candidate::Absent(self.name(*node)),
            },
        }
    }

    pub(super) fn on_release_decided(&mut self, step: usize, decided: ReleaseOutcome) {
        let NodeKind::Release(declared) = &self.ctx.node(step).kind else { return };
        fail_point("release.decided");
        let (run, release) = (self.request.run.clone(), declared.name.clone());
        self.outcome.releases.push(ReleaseResult { release: release.clone(), outcome: decided.clone() });
        self.emit(match decided {
            ReleaseOutcome::Released { version, bundle } => Event::Released { run, release, version, bundle },
            ReleaseOutcome::Kept { version } => Event::ReleaseKept { run, release, version },
            ReleaseOutcome::Held { version, live } => Event::ReleaseHeld { run, release, version, live },
            ReleaseOutcome::Refused { because, live } => Event::ReleaseRefused { run, release, because, live },
        });
        self.scheduler.on_decided(step);
    }
}

fn gate_event(run: RunId, gate: String, passed: bool, checks: Vec<CheckResult>) -> Event {
    if passed { Event::GatePassed { run, gate, checks } } else { Event::GateRefused { run, gate, checks } }
}
