//! The run loop: does what the scheduler commands, tells it what happened, keeps records and emits events.
//!
//! One loop, one closed [`Message`] enum. All state of a run is here and is touched by the loop alone; threads of the
//! pool, of runners and of the store only send messages.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mlp_model::{
    Cancel, CheckResult, Digest, ErrorClass, Event, Lease, NodeKind, Outcome, OutputRecord, Part, Record, RunnerEvent,
    StepError, StepId, StepResult, StoreError, Timestamp, ArtifactKind,
};
use tokio::sync::{mpsc, watch};

use super::attempt::{self, Collected, Started};
use super::claim::{self, Grant};
use super::decide::{self, Candidate, ReleaseOutcome, Releaser};
use super::pool::Pool;
use super::{Failure, GateResult, ReleaseResult, RunOutcome, RunRequest, status};
use crate::Clock;
use crate::answer::answer;
use crate::bundle::{BundlePart, Pinned};
use crate::context::{Context, call_of};
use crate::fault::{bug, panicked, store_trouble};
use crate::gate::{self, GateOutcome};
use crate::resolve::{self, Hit, Known, Lookup, Resolved, bind_inputs};
use crate::scheduler::{self, Because, Command, Scheduler, State, Step, StepKind};

/// Everything that can happen to a run.
pub(crate) enum Message {
    Resolved { step: usize, result: Result<Resolved, StepError> },
    ClaimDelayed { step: usize },
    Claimed { step: usize, result: Result<Grant, StepError> },
    Started { step: usize, attempt: u32, result: Result<Started, StepError> },
    Told { step: usize, attempt: u32, event: RunnerEvent },
    Collected { step: usize, result: Result<Collected, StepError> },
    Committed { steps: Vec<usize>, result: Result<(), StoreError> },
    GateDecided { step: usize, result: Result<GateOutcome, StepError> },
    ReleaseDecided { step: usize, result: Result<ReleaseOutcome, StepError> },
}

pub(crate) struct Drive<'a, F> {
    ctx: Arc<Context>,
    request: &'a RunRequest,
    clock: Clock,
    pool: Arc<Pool>,
    outcome: &'a mut RunOutcome,
    on_event: &'a mut F,
    scheduler: Scheduler,
    tell: mpsc::UnboundedSender<Message>,
    hear: mpsc::UnboundedReceiver<Message>,
    resolved: Vec<Option<Arc<Resolved>>>,
    /// Found before the run began.
    foreseen: Vec<Option<Result<Arc<Resolved>, StepError>>>,
    outputs: Known,
    /// Steps that were executed in this run.
    is_executed: Vec<bool>,
    /// Gates that refused in this run.
    has_refused: Vec<bool>,
    leases: HashMap<usize, Lease>,
    attempts: HashMap<usize, Attempt>,
    /// Results that are on their way to the disk.
    results: HashMap<usize, StepResult>,
    /// Records of the next group, and the steps that finish with it.
    records: Vec<Record>,
    finishing: Vec<usize>,
    n_unacknowledged: usize,
    was_told_to_end: bool,
    was_interrupted: bool,
    /// The store could not keep a record that belongs to no single step.
    trouble: Option<StoreError>,
}

/// The attempt of a step that is running.
struct Attempt {
    number: u32,
    started_at: Timestamp,
    phase: Phase,
    cancel: Option<Cancel>,
}

enum Phase {
    /// Its inputs are being laid out. `end`: it ended before we heard that it had begun.
    Starting { end: Option<Result<Outcome, StepError>> },
    Running(Started),
    /// Its outputs are being brought into the store.
    Collecting,
}

impl<'a, F: FnMut(&Event) + Send> Drive<'a, F> {
    pub(crate) fn new(
        ctx: Arc<Context>,
        request: &'a RunRequest,
        clock: Clock,
        pool: Arc<Pool>,
        outcome: &'a mut RunOutcome,
        on_event: &'a mut F,
    ) -> Self {
        let (tell, hear) = mpsc::unbounded_channel();
        let n_nodes = ctx.pipeline.nodes.len();
        Self {
            scheduler: Scheduler::new(steps_of(&ctx), request.jobs, request.keep_going),
            ctx,
            request,
            clock,
            pool,
            outcome,
            on_event,
            tell,
            hear,
            resolved: vec![None; n_nodes],
            foreseen: Vec::new(),
            outputs: vec![None; n_nodes],
            is_executed: vec![false; n_nodes],
            has_refused: vec![false; n_nodes],
            leases: HashMap::new(),
            attempts: HashMap::new(),
            results: HashMap::new(),
            records: Vec::new(),
            finishing: Vec::new(),
            n_unacknowledged: 0,
            was_told_to_end: false,
            was_interrupted: false,
            trouble: None,
        }
    }

    /// Drives the run to its end; returns trouble of the store that is no step's failure.
    pub(crate) async fn run(
        mut self,
        foreseen: Vec<Option<Result<Arc<Resolved>, StepError>>>,
        mut cancel: watch::Receiver<Option<Cancel>>,
    ) -> Option<StoreError> {
        self.foreseen = foreseen;
        let mut may_be_cancelled = true;
        self.scheduler.on_started();
        let how = *cancel.borrow_and_update();
        self.on_cancel(how);
        loop {
            while let Some(command) = self.scheduler.next_command() {
                self.execute(command);
            }
            // What is there already goes into the same group of records.
            if let Ok(message) = self.hear.try_recv() {
                self.on_message(message);
                continue;
            }
            self.flush();
            if self.scheduler.is_done() && self.n_unacknowledged == 0 {
                break;
            }
            tokio::select! {
                Some(message) = self.hear.recv() => self.on_message(message),
                changed = cancel.changed(), if may_be_cancelled => match changed {
                    Ok(()) => {
                        let how = *cancel.borrow_and_update();
                        self.on_cancel(how);
                    }
                    Err(_) => may_be_cancelled = false,
                },
            }
        }
        self.outcome.status = status(self.outcome, self.was_interrupted);
        if self.trouble.is_some() {
            self.outcome.status = mlp_model::RunStatus::Failed;
        }
        self.trouble
    }

    fn on_cancel(&mut self, how: Option<Cancel>) {
        if let Some(how) = how {
            self.was_told_to_end = true;
            self.scheduler.on_cancel(how);
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::ResolveKey { step } => self.resolve_key(step),
            Command::Claim { step } => self.claim(step),
            Command::StartStep { step, attempt } => self.start_step(step, attempt),
            Command::DecideGate { step } => self.decide_gate(step),
            Command::DecideRelease { step, blocked } => self.decide_release(step, blocked),
            Command::Skip { step, because } => self.on_skipped(step, because),
            Command::CancelStep { step, how } => self.cancel_step(step, how),
        }
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Resolved { step, result } => match result {
                Ok(resolved) => self.on_resolved(step, Arc::new(resolved)),
                Err(error) => self.on_failed(step, error),
            },
            Message::ClaimDelayed { step } => self.scheduler.on_claim_delayed(step),
            Message::Claimed { step, result } => self.on_claimed(step, result),
            Message::Started { step, attempt, result } => self.on_started(step, attempt, result),
            Message::Told { step, attempt, event } => self.on_told(step, attempt, event),
            Message::Collected { step, result } => match result {
                Ok(collected) => self.on_collected(step, collected),
                Err(error) => self.on_failed(step, error),
            },
            Message::Committed { steps, result } => self.on_committed(steps, result),
            Message::GateDecided { step, result } => match result {
                Ok(decided) => self.on_gate_decided(step, decided),
                Err(error) => self.on_failed(step, error),
            },
            Message::ReleaseDecided { step, result } => match result {
                Ok(decided) => self.on_release_decided(step, decided),
                Err(error) => self.on_failed(step, error),
            },
        }
    }

    // Keys.

    fn resolve_key(&mut self, step: usize) {
        if let Some(foreseen) = self.foreseen.get_mut(step).and_then(Option::take) {
            return match foreseen {
                Ok(resolved) => self.on_resolved(step, resolved),
                Err(error) => self.on_failed(step, error),
            };
        }
        let bound = bind_inputs(&self.ctx, step, &self.outputs);
        self.work(
            step,
            move |ctx| bound.and_then(|inputs| resolve::resolve(ctx, step, inputs)),
            move |result| Message::Resolved { step, result },
        );
    }

    fn on_resolved(&mut self, step: usize, resolved: Arc<Resolved>) {
        if self.scheduler.state(step) != State::Resolving {
            return;
        }
        let hit = match &resolved.lookup {
            Lookup::Hit(hit) => Some(Arc::clone(hit)),
            Lookup::Miss(_) => None,
        };
        self.resolved[step] = Some(resolved);
        match hit {
            Some(hit) => self.on_hit(step, &hit),
            None => self.scheduler.on_key_resolved(step, scheduler::Lookup::Miss),
        }
    }

    fn on_hit(&mut self, step: usize, hit: &Hit) {
        self.outputs[step] = Some(hit.result.outputs.clone().into());
        self.outcome.steps.reused += 1;
        let at = (self.clock)();
        self.records.push(Record::StepReused {
            run: self.request.run.clone(),
            step: self.step_id(step),
            key: hit.result.key,
            at,
        });
        let early_cutoff = self.scheduler.inputs(step).iter().any(|&input| self.is_executed[input]);
        self.emit(Event::StepReused {
            run: self.request.run.clone(),
            step: self.name(step),
            from_run: hit.run.clone(),
            outputs: hit.result.outputs.clone(),
            facts: hit.result.facts.clone(),
            early_cutoff,
        });
        self.scheduler.on_key_resolved(step, scheduler::Lookup::Hit);
    }

    fn claim(&mut self, step: usize) {
        match self.resolved[step].clone() {
            Some(resolved) => {
                tokio::spawn(claim::claim(Arc::clone(&self.ctx), step, resolved, self.tell.clone()));
            }
            None => self.on_failed(step, bug("N6301", format!("step `{}` has no key", self.name(step)))),
        }
    }

    fn on_claimed(&mut self, step: usize, result: Result<Grant, StepError>) {
        if !matches!(self.scheduler.state(step), State::Claiming | State::Awaiting) {
            return;
        }
        match result {
            Ok(Grant::Reuse(hit)) => self.on_hit(step, &hit),
            Ok(Grant::Execute(lease)) => {
                if let Some(lease) = lease {
                    self.leases.insert(step, lease);
                }
                self.scheduler.on_claimed(step);
            }
            Err(error) => self.on_failed(step, error),
        }
    }

    // Attempts.

    fn start_step(&mut self, step: usize, number: u32) {
        let Some(resolved) = self.resolved[step].clone() else {
            return self.on_failed(step, bug("N6301", format!("step `{}` has no key", self.name(step))));
        };
        let reason = match &resolved.lookup {
            _ if number > 1 => format!("attempt {} failed", number - 1),
            Lookup::Miss(reason) => reason.clone(),
            Lookup::Hit(_) => String::new(),
        };
        self.emit(Event::StepStarted {
            run: self.request.run.clone(),
            step: self.name(step),
            op: resolved.key.op.clone(),
            attempt: number,
            reason,
        });
        let started_at = (self.clock)();
        let phase = Phase::Starting { end: None };
        self.attempts.insert(step, Attempt { number, started_at, phase, cancel: None });
        let (tell, run) = (self.tell.clone(), self.request.run.clone());
        let report = move |event| _ = tell.send(Message::Told { step, attempt: number, event });
        self.work(
            step,
            move |ctx| attempt::start(ctx, step, &resolved, &run, number, report),
            move |result| Message::Started { step, attempt: number, result },
        );
    }

    fn on_started(&mut self, step: usize, number: u32, result: Result<Started, StepError>) {
        let Some(attempt) = self.attempts.get_mut(&step).filter(|attempt| attempt.number == number) else { return };
        let started = match result {
            Ok(started) => started,
            Err(error) => return self.on_failed(step, error),
        };
        if let Some(how) = attempt.cancel {
            started.handle.cancel(how);
        }
        match std::mem::replace(&mut attempt.phase, Phase::Running(started)) {
            Phase::Starting { end: Some(end) } => self.on_ended(step, end),
            _ => {}
        }
    }

    fn on_told(&mut self, step: usize, number: u32, event: RunnerEvent) {
        let Some(attempt) = self.attempts.get_mut(&step).filter(|attempt| attempt.number == number) else { return };
        let run = self.request.run.clone();
        match event {
            RunnerEvent::Progressed(progress) => {
                self.emit(Event::StepProgressed { run, step: self.name(step), progress });
            }
            RunnerEvent::Printed(line) => self.emit(Event::StepPrinted { run, step: self.name(step), line }),
            RunnerEvent::Finished(end) => match &mut attempt.phase {
                Phase::Starting { end: early } => *early = Some(end),
                Phase::Running(_) => self.on_ended(step, end),
                Phase::Collecting => {}
            },
        }
    }

    fn on_ended(&mut self, step: usize, end: Result<Outcome, StepError>) {
        let (Some(attempt), Some(resolved)) = (self.attempts.get_mut(&step), self.resolved[step].clone()) else {
            return;
        };
        let Phase::Running(started) = std::mem::replace(&mut attempt.phase, Phase::Collecting) else { return };
        match end {
            Ok(outcome) => self.work(
                step,
                move |ctx| attempt::collect(ctx, step, &resolved, &started.scratch, outcome),
                move |result| Message::Collected { step, result },
            ),
            Err(error) => {
                // Removing its folder may take a while.
                self.pool.submit(move || drop(started));
                self.on_failed(step, error);
            }
        }
    }

    fn on_collected(&mut self, step: usize, collected: Collected) {
        let (Some(attempt), Some(resolved)) = (self.attempts.remove(&step), self.resolved[step].clone()) else {
            return;
        };
        let at = (self.clock)();
        let mut environment = collected.environment;
        environment.entry("mlp".to_owned()).or_insert_with(|| self.request.mlp_version.clone());
        let result = StepResult {
            key: resolved.id,
            key_object: collected.key_object,
            op: resolved.key.op.clone(),
            attempt: attempt.number,
            inputs: resolved.inputs.clone(),
            outputs: collected.outputs,
            facts: collected.facts,
            environment,
            seconds: (at.0 - attempt.started_at.0).max(0) as f64 / 1000.0,
            at,
        };
        self.outputs[step] = Some(result.outputs.clone().into());
        self.is_executed[step] = true;
        self.records.push(Record::StepFinished {
            run: self.request.run.clone(),
            step: self.step_id(step),
            result: result.clone(),
        });
        self.finishing.push(step);
        self.results.insert(step, result);
        self.scheduler.on_written(step);
    }

    fn cancel_step(&mut self, step: usize, how: Cancel) {
        if let Some(attempt) = self.attempts.get_mut(&step) {
            match &attempt.phase {
                Phase::Starting { .. } => attempt.cancel = Some(how),
                Phase::Running(started) => started.handle.cancel(how),
                Phase::Collecting => {}
            }
        }
    }

    /// A step, gate or release did not come to its result, at whatever point.
    fn on_failed(&mut self, step: usize, error: StepError) {
        if self.scheduler.state(step).has_ended() {
            return;
        }
        let number = self.attempts.remove(&step).map_or(1, |attempt| attempt.number);
        let will_retry = self.scheduler.on_failed(step, error.class);
        let is_call = call_of(self.ctx.node(step)).is_some();
        if is_call {
            let key = match &self.resolved[step] {
                Some(resolved) => resolved.id,
                None => resolve::partial_key(&self.ctx, step).id(),
            };
            let at = (self.clock)();
            self.records.push(Record::StepFailed {
                run: self.request.run.clone(),
                step: self.step_id(step),
                attempt: number,
                key,
                error: error.clone(),
                at,
            });
        }
        self.emit(Event::StepFailed {
            run: self.request.run.clone(),
            step: self.name(step),
            attempt: number,
            error: error.clone(),
            will_retry,
        });
        if will_retry {
            return;
        }
        self.leases.remove(&step);
        self.results.remove(&step);
        self.outcome.steps.failed += usize::from(is_call);
        self.was_interrupted |= self.was_told_to_end && error.class == ErrorClass::Cancelled;
        self.outcome.failures.push(Failure { step: self.name(step), error });
    }

    fn on_skipped(&mut self, step: usize, because: Because) {
        self.leases.remove(&step);
        self.was_interrupted |= because == Because::Cancelled && self.trouble.is_none();
        self.outcome.steps.skipped += usize::from(call_of(self.ctx.node(step)).is_some());
        self.emit(Event::StepSkipped {
            run: self.request.run.clone(),
            step: self.name(step),
            because: self.words(because),
        });
    }

    // Records.

    /// Sends the collected records off as one group.
    fn flush(&mut self) {
        if self.records.is_empty() {
            return;
        }
        let (tell, steps) = (self.tell.clone(), std::mem::take(&mut self.finishing));
        self.n_unacknowledged += 1;
        let done = answer(move |result| _ = tell.send(Message::Committed { steps, result }));
        self.ctx.store.commit(std::mem::take(&mut self.records), None, done);
    }

    fn on_committed(&mut self, steps: Vec<usize>, result: Result<(), StoreError>) {
        self.n_unacknowledged -= 1;
        match result {
            Ok(()) => steps.into_iter().for_each(|step| self.on_step_committed(step)),
            Err(error) if steps.is_empty() => {
                if self.trouble.is_none() {
                    self.trouble = Some(error);
                    self.scheduler.on_cancel(Cancel::Gently);
                }
            }
            Err(error) => steps.into_iter().for_each(|step| self.on_failed(step, store_trouble(&error))),
        }
    }

    fn on_step_committed(&mut self, step: usize) {
        self.leases.remove(&step);
        if let Some(result) = self.results.remove(&step) {
            self.outcome.steps.executed += 1;
            self.emit(Event::StepFinished {
                run: self.request.run.clone(),
                step: self.name(step),
                outputs: result.outputs,
                facts: result.facts,
                seconds: result.seconds,
            });
        }
        self.scheduler.on_committed(step);
    }

    // Decisions.

    fn decide_gate(&mut self, step: usize) {
        let NodeKind::Gate(declared) = &self.ctx.node(step).kind else { return };
        let report_of = |node: usize| {
            let outputs = self.outputs[node].iter().flat_map(|outputs| outputs.iter());
            outputs.clone().find(|output| output.kind == ArtifactKind::Report).map(|output| output.digest)
        };
        let reports: BTreeMap<usize, Option<Digest>> =
            gate::nodes_read(declared).into_iter().map(|node| (node, report_of(node))).collect();
        self.work(
            step,
            move |ctx| decide::decide_gate(ctx, step, reports),
            move |result| Message::GateDecided { step, result },
        );
    }

    fn on_gate_decided(&mut self, step: usize, decided: GateOutcome) {
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

    fn decide_release(&mut self, step: usize, blocked: Option<Because>) {
        let NodeKind::Release(declared) = &self.ctx.node(step).kind else { return };
        let name = declared.name.clone();
        let refused = declared.gates.iter().find(|&&gate| self.has_refused[gate]);
        let because = match blocked {
            Some(because) => {
                self.was_interrupted |= because == Because::Cancelled && self.trouble.is_none();
                Some(self.words(because))
            }
            None => refused.map(|&gate| format!("gate `{}` refused", self.name(gate))),
        };
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

    fn on_release_decided(&mut self, step: usize, decided: ReleaseOutcome) {
        let NodeKind::Release(declared) = &self.ctx.node(step).kind else { return };
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

    // Helpers.

    /// Does blocking work on the pool and sends its result, also if it panics.
    fn work<T: 'static>(
        &self,
        step: usize,
        work: impl FnOnce(&Context) -> Result<T, StepError> + Send + 'static,
        message: impl FnOnce(Result<T, StepError>) -> Message + Send + 'static,
    ) {
        let (ctx, tell) = (Arc::clone(&self.ctx), self.tell.clone());
        self.pool.submit(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&ctx)));
            let result = result.unwrap_or_else(|_| Err(panicked(&ctx.node(step).name)));
            let _ = tell.send(message(result));
        });
    }

    fn emit(&mut self, event: Event) {
        (self.on_event)(&event);
    }

    fn name(&self, step: usize) -> String {
        self.ctx.node(step).name.clone()
    }

    fn step_id(&self, step: usize) -> StepId {
        StepId { pipeline: self.ctx.pipeline.name.clone(), step: self.name(step) }
    }

    fn words(&self, because: Because) -> String {
        match because {
            Because::Failed { step } => format!("`{}` failed", self.name(step)),
            Because::Stopped { step } => format!("nothing was started after `{}` failed", self.name(step)),
            Because::NoChampion { step } => {
                self.ctx.absent_champion(step).unwrap_or_else(|| "there is no champion yet".to_owned())
            }
            Because::Cancelled if self.trouble.is_some() => "the store could not keep the run's records".to_owned(),
            Because::Cancelled => "the run was interrupted".to_owned(),
        }
    }
}

fn gate_event(run: mlp_model::RunId, gate: String, passed: bool, checks: Vec<CheckResult>) -> Event {
    if passed { Event::GatePassed { run, gate, checks } } else { Event::GateRefused { run, gate, checks } }
}

/// Describes the wanted nodes to the scheduler.
fn steps_of(ctx: &Context) -> Vec<Step> {
    let request = &ctx.request;
    let path_lengths = request.graph.path_lengths(&request.is_wanted);
    let kind = |idx: usize| match &ctx.node(idx).kind {
        _ if !request.is_wanted[idx] => StepKind::Unwanted,
        NodeKind::Gate(_) => StepKind::Gate,
        NodeKind::Release(_) => StepKind::Release,
        NodeKind::Call(_) if ctx.absent_champion(idx).is_some() => StepKind::WithoutChampion,
        NodeKind::Call(call) => StepKind::Call { retries: call.options.retries },
    };
    (0..ctx.pipeline.nodes.len())
        .map(|idx| {
            let kind = kind(idx);
            let inputs = if kind == StepKind::Unwanted { Vec::new() } else { request.graph.inputs(idx) };
            Step { kind, inputs, path_length: path_lengths[idx] }
        })
        .collect()
}
