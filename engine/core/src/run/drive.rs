//! The run loop: does what the scheduler commands, tells it what happened, keeps records and emits events.
//!
//! One loop, one closed [`Message`] enum. All state of a run is here and is touched by the loop alone; threads of the
//! pool, of runners and of the store only send messages.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mlp_model::{
    Cancel, Claim, Decision, Event, Holdup, InputRecord, Lease, Outcome, OutputRecord, Record, RunStatus, StepError,
    StepId, StepResult, StoreError, Timestamp,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::attempt::{Collected, Started, Told};
use super::claim::Grant;
use super::decide::ReleaseOutcome;
use super::pool::Pool;
use super::{Ahead, RunOutcome, RunRequest, free_elsewhere, status};
use crate::Clock;
use crate::context::Context;
use crate::fault::panicked;
use crate::gate::GateOutcome;
use crate::predict;
use crate::resolve::{self, Known, Resolved};
use crate::scheduler::{Because, Command, Scheduler, State, Step, StepKind};
use crate::tolerance::Tolerance;
use light::LightStart;
use waits::Waiting;

mod attempts;
mod decisions;
mod ends;
mod keys;
mod light;
mod records;
mod waits;

/// Everything that can happen to a run.
pub(crate) enum Message {
    Resolved {
        results: Vec<(usize, Result<Resolved, StepError>)>,
    },
    ClaimDelayed {
        step: usize,
    },
    ClaimAnswered {
        step: usize,
        claim: Result<Claim, StoreError>,
    },
    /// What steps wait for, as far as that are other runs.
    HeldUp {
        holdups: Vec<(usize, Option<Holdup>)>,
    },
    /// A step has waited long enough for its next attempt.
    Paused {
        step: usize,
    },
    Claimed {
        step: usize,
        result: Result<Grant, StepError>,
    },
    Started {
        step: usize,
        attempt: u32,
        result: Result<Started, StepError>,
    },
    Told {
        step: usize,
        attempt: u32,
        told: Told,
    },
    /// Light steps, by number and attempt.
    Executed {
        results: Vec<(usize, u32, Result<Collected, StepError>)>,
    },
    /// An attempt that is over has left nothing behind.
    PutAway,
    Committed {
        steps: Vec<usize>,
        result: Result<(), StoreError>,
    },
    GateDecided {
        step: usize,
        result: Result<GateOutcome, StepError>,
    },
    ReleaseDecided {
        step: usize,
        result: Result<ReleaseOutcome, StepError>,
    },
}

/// How many messages are taken before records are sent off and a cancel is heard.
const MAX_HEARD: usize = 256;
/// While steps run, a group of records follows the one before after so long: a group costs the disk as little as a single
/// record, and nobody waits for it but those who are told.
const PACE: Duration = Duration::from_millis(4);
/// A group that has grown to this many records is not held back.
const MANY_RECORDS: usize = 512;
/// A claim that takes longer waits for another run, and its slot is better used for something else.
pub(super) const CLAIM_PATIENCE: Duration = Duration::from_millis(20);

pub(crate) struct Drive<'a, F> {
    ctx: Arc<Context>,
    request: &'a RunRequest,
    clock: Clock,
    run_started_at: Timestamp,
    pool: Arc<Pool>,
    outcome: &'a mut RunOutcome,
    on_event: &'a mut F,
    scheduler: Scheduler,
    tell: mpsc::UnboundedSender<Message>,
    hear: mpsc::UnboundedReceiver<Message>,
    resolved: Vec<Option<Arc<Resolved>>>,
    /// Found before the run began.
    foreseen: Vec<Option<Result<Arc<Resolved>, StepError>>>,
    /// How long each step took last, as far as that matters.
    past_seconds: Vec<Option<f64>>,
    /// Steps of which it was not known before the run whether they would have to run.
    is_uncertain: Vec<bool>,
    /// Of each uncertain step that was reused: the executed step whose equal outputs made it so.
    cut_off_by: Vec<Option<usize>>,
    /// By that step, how many were saved since it was last told.
    n_saved: BTreeMap<usize, usize>,
    outputs: Known,
    /// Steps that were executed in this run.
    is_executed: Vec<bool>,
    /// Whether there are any.
    has_executed: bool,
    /// Gates that refused in this run.
    has_refused: Vec<bool>,
    /// Steps that did not run because of a condition, their own or that of one they need, or because of a failure that the run goes
    /// on without.
    is_left_out: Vec<bool>,
    /// Steps whose keys are to be looked up, with what they read.
    unresolved: Vec<(usize, Vec<InputRecord>)>,
    /// Light steps that are to be executed.
    light: Vec<LightStart>,
    leases: HashMap<usize, Lease>,
    /// Claims in the order in which they were made, until they are answered or have taken too long.
    claims: VecDeque<(Instant, usize)>,
    waiting: Waiting,
    attempts: HashMap<usize, Attempt>,
    /// The last failed attempt of each step that may be tried again, and how long that waits.
    failed: HashMap<usize, (u32, StepError, Duration)>,
    /// Results that are on their way to the disk.
    results: HashMap<usize, StepResult>,
    /// Records of the next group, and the steps that finish with it.
    records: Vec<Record>,
    finishing: Vec<usize>,
    n_unacknowledged: usize,
    /// Attempts that are being started, and such that are over and whose folders are being removed: the run does not end before
    /// they are gone.
    n_starting: usize,
    n_put_away: usize,
    /// When the last group was sent off.
    flushed_at: Instant,
    was_told_to_end: bool,
    was_interrupted: bool,
    was_over_budget: bool,
    /// The store could not keep a record that belongs to no single step.
    trouble: Option<StoreError>,
    carried: Carried,
}

/// What nodes came to in earlier parts of the run, by name. A run has several parts where it must be known what a loop goes over
/// before the steps of its rounds are.
#[derive(Default)]
pub(crate) struct Carried {
    pub done: HashMap<String, Done>,
    /// Whether a loop may tolerate that they failed.
    pub failed: HashMap<String, bool>,
    pub skipped: HashSet<String>,
    /// Loops that could not be unfolded.
    pub broken: HashSet<String>,
    /// Records that are still to be sent off.
    pub rest: Vec<Record>,
    was_interrupted: bool,
    was_over_budget: bool,
}

impl Carried {
    /// Leaves out of the steps what is no part of this part of the run, and what has come to its end in an earlier one.
    pub(crate) fn limit(&self, ctx: &Context, steps: &mut [Step], part: &[bool]) {
        for (idx, step) in steps.iter_mut().enumerate() {
            let node = ctx.node(idx);
            let is_unfoldable = node.waits().is_none_or(|waits| !self.broken.contains(&waits.name));
            let failed = self.failed.get(&node.name).copied().or((!is_unfoldable).then_some(false));
            step.kind = match step.kind {
                StepKind::Unwanted => StepKind::Unwanted,
                _ if !part[idx] => StepKind::Unwanted,
                _ if self.done.contains_key(&node.name) => StepKind::Done,
                kind => failed.map_or(kind, |is_tolerable| StepKind::Broken { is_tolerable }),
            };
        }
        let is_unwanted: Vec<bool> = steps.iter().map(|step| step.kind == StepKind::Unwanted).collect();
        for step in steps.iter_mut() {
            let is_out = step.kind == StepKind::Unwanted;
            for others in [&mut step.inputs, &mut step.collects, &mut step.awaits] {
                others.retain(|&other| !is_out && !is_unwanted[other]);
            }
            // What does the same as a step of a later part does not wait for it.
            step.twin = step.twin.filter(|&twin| !is_out && !is_unwanted[twin]);
        }
    }
}

pub(crate) struct Done {
    pub outputs: Arc<[OutputRecord]>,
    resolved: Option<Arc<Resolved>>,
    is_executed: bool,
}

/// The attempt of a step that is running.
struct Attempt {
    number: u32,
    started_at: Timestamp,
    phase: Phase,
    cancel: Option<Cancel>,
}

enum Phase {
    /// Its inputs are being laid out. `end`: it ended well before we heard that it had begun.
    Starting {
        end: Option<Outcome>,
    },
    Running(Started),
    /// It is light, and everything is done in one go, unless it is cancelled before.
    Light(Arc<AtomicBool>),
    /// Its outputs are being brought into the store.
    Collecting,
}

impl<'a, F: FnMut(&Event) + Send> Drive<'a, F> {
    pub(crate) fn new(
        ctx: Arc<Context>,
        request: &'a RunRequest,
        (clock, run_started_at): (Clock, Timestamp),
        pool: Arc<Pool>,
        (ahead, carried): (Ahead, Carried),
        outcome: &'a mut RunOutcome,
        on_event: &'a mut F,
    ) -> Self {
        let (tell, hear) = mpsc::unbounded_channel();
        let n_nodes = ctx.pipeline.nodes.len();
        let mut past_seconds = vec![None; n_nodes];
        let mut is_uncertain = vec![false; n_nodes];
        for (step, &node) in ahead.outlook.steps.iter().zip(&ahead.outlook.nodes) {
            past_seconds[node] = step.seconds;
            is_uncertain[node] =
                matches!(step.decision, Decision::Unknown { .. }) && ahead.outlook.twin_of[node].is_none();
        }
        let (mut resolved, mut outputs) = (vec![None; n_nodes], vec![None; n_nodes]);
        let mut is_executed = vec![false; n_nodes];
        for (idx, node) in ctx.pipeline.nodes.iter().enumerate() {
            if let Some(done) = carried.done.get(&node.name) {
                outputs[idx] = Some(Arc::clone(&done.outputs));
                resolved[idx] = done.resolved.clone();
                is_executed[idx] = done.is_executed;
            }
        }
        let tolerance = predict::tolerance(&ctx, |idx| ahead.steps[idx].kind != StepKind::Unwanted);
        Self {
            scheduler: Scheduler::new(ahead.steps, ahead.pool, tolerance, request.keep_going),
            ctx,
            request,
            clock,
            run_started_at,
            pool,
            outcome,
            on_event,
            tell,
            hear,
            resolved,
            foreseen: ahead.outlook.resolved,
            past_seconds,
            is_uncertain,
            cut_off_by: vec![None; n_nodes],
            n_saved: BTreeMap::new(),
            outputs,
            has_executed: is_executed.contains(&true),
            is_executed,
            has_refused: vec![false; n_nodes],
            is_left_out: vec![false; n_nodes],
            unresolved: Vec::new(),
            light: Vec::new(),
            leases: HashMap::new(),
            claims: VecDeque::new(),
            waiting: Waiting::new(),
            attempts: HashMap::new(),
            failed: HashMap::new(),
            results: HashMap::new(),
            records: Vec::new(),
            finishing: Vec::new(),
            n_unacknowledged: 0,
            n_starting: 0,
            n_put_away: 0,
            flushed_at: Instant::now(),
            was_told_to_end: false,
            was_interrupted: carried.was_interrupted,
            was_over_budget: carried.was_over_budget,
            trouble: None,
            carried,
        }
    }

    /// Drives this part of the run to its end; returns trouble of the store that is no step's failure, and what the next
    /// part goes on from: nothing, if it `is_last`.
    pub(crate) async fn run(
        mut self,
        mut cancel: watch::Receiver<Option<Cancel>>,
        is_last: bool,
    ) -> (Option<StoreError>, Carried) {
        let mut may_be_cancelled = true;
        let mut n_heard = 0;
        // One timer for all that waits: setting one wakes a thread.
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval(waits::PATIENCE);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.scheduler.on_started();
        let how = *cancel.borrow_and_update();
        self.on_cancel(how);
        loop {
            self.obey();
            // What is there already goes into the same group of records, but a talkative step delays nothing.
            if n_heard < MAX_HEARD
                && let Ok(message) = self.hear.try_recv()
            {
                n_heard += 1;
                self.on_message(message);
                continue;
            }
            n_heard = 0;
            self.resolve_keys();
            self.execute_light();
            if !self.scheduler.is_resolving() {
                self.tell_cut_offs();
            }
            let is_done = self.scheduler.is_done();
            // Where nothing was done, nobody is told of these records: they go with that of the run's end.
            let n_done = self.outcome.steps.executed + self.outcome.steps.failed;
            let is_rest = is_last && is_done && self.finishing.is_empty() && n_done == 0;
            if !is_rest {
                self.flush();
            }
            if is_done && self.n_unacknowledged == 0 && self.n_starting + self.n_put_away == 0 {
                break;
            }
            while self.claims.pop_front_if(|(_, step)| self.scheduler.state(*step) != State::Claiming).is_some() {}
            let is_waiting = !self.claims.is_empty() || self.held_until().is_some();
            tokio::select! {
                Some(message) = self.hear.recv() => self.on_message(message),
                _ = ticks.tick(), if is_waiting => self.on_time(),
                _ = looks.tick(), if self.scheduler.is_awaiting() => self.look_at_waits(),
                changed = cancel.changed(), if may_be_cancelled => match changed {
                    Ok(()) => {
                        let how = *cancel.borrow_and_update();
                        self.on_cancel(how);
                    }
                    Err(_) => may_be_cancelled = false,
                },
            }
        }
        self.settle_failures();
        self.outcome.status = status(self.outcome, self.was_interrupted, self.was_over_budget);
        if self.trouble.is_some() {
            self.outcome.status = RunStatus::Failed;
        }
        self.ctx.scratches.clear();
        let mut carried = if is_last { Carried::default() } else { self.carry() };
        carried.rest = std::mem::take(&mut self.records);
        free_elsewhere((self.resolved, self.foreseen, self.outputs, self.scheduler));
        (self.trouble, carried)
    }

    /// Claims that have not been answered for long wait for another run.
    fn on_time(&mut self) {
        let now = Instant::now();
        while let Some((_, step)) = self.claims.pop_front_if(|(claimed_at, _)| *claimed_at + CLAIM_PATIENCE <= now) {
            self.scheduler.on_claim_delayed(step);
        }
    }

    /// Says which failures the run does not fail for, now that all is known of their loops.
    fn settle_failures(&mut self) {
        let tolerance = self.scheduler.tolerance();
        let is_tolerated: HashSet<&str> = (0..self.ctx.pipeline.nodes.len())
            .filter(|&step| self.scheduler.state(step) == State::Failed && tolerance.is_tolerated(step))
            .map(|step| self.ctx.node(step).name.as_str())
            .collect();
        for failure in &mut self.outcome.failures {
            failure.is_tolerated = is_tolerated.contains(failure.step.as_str());
        }
        self.outcome.steps.tolerated = self.outcome.failures.iter().filter(|failure| failure.is_tolerated).count();
        self.outcome.failed_rounds = tolerance.failed_rounds();
    }

    /// Does what the scheduler commands. Keys that were found before the run are answered at once, all of them before the
    /// first slot is given.
    fn obey(&mut self) {
        loop {
            self.scheduler.keep_slots();
            while let Some(command) = self.scheduler.next_command() {
                self.execute(command);
                // Where very many steps are reused at once, the store keeps up meanwhile.
                if self.records.len() >= MANY_RECORDS {
                    self.flush();
                }
            }
            if !self.scheduler.give_slots() {
                return;
            }
        }
    }

    /// Returns what the next part of the run has to know.
    fn carry(&mut self) -> Carried {
        let mut carried = std::mem::take(&mut self.carried);
        carried.was_interrupted = self.was_interrupted;
        carried.was_over_budget = self.was_over_budget;
        for (idx, node) in self.ctx.pipeline.nodes.iter().enumerate() {
            let name = node.name.clone();
            match (self.scheduler.state(idx), self.outputs[idx].take()) {
                (State::Executed | State::Reused, Some(outputs)) => {
                    let (resolved, is_executed) = (self.resolved[idx].take(), self.is_executed[idx]);
                    carried.done.insert(name, Done { outputs, resolved, is_executed });
                }
                (State::Failed, _) => {
                    let failures = self.outcome.failures.iter();
                    let mut of_step = failures.filter(|failure| failure.step == name);
                    let is_tolerable = of_step.all(|failure| Tolerance::is_tolerable(failure.error.class));
                    carried.failed.entry(name).or_insert(is_tolerable);
                }
                (State::Skipped, _) => _ = carried.skipped.insert(name),
                _ => {}
            }
        }
        carried
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
            Command::Pause { step } => self.pause(step),
            Command::GiveUp { step, because } => self.give_up(step, because),
            Command::Skip { step, because } => self.on_skipped(step, because),
            Command::CancelStep { step, how } => self.cancel_step(step, how),
        }
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Resolved { results } => {
                for (step, result) in results {
                    match result {
                        Ok(resolved) => self.on_resolved(step, Arc::new(resolved)),
                        Err(error) => self.on_failed(step, error),
                    }
                }
            }
            Message::Paused { step } => self.scheduler.on_paused(step),
            Message::ClaimDelayed { step } => self.scheduler.on_claim_delayed(step),
            Message::HeldUp { holdups } => self.on_held_up(holdups),
            Message::ClaimAnswered { step, claim } => self.on_claim_answered(step, claim),
            Message::Claimed { step, result } => self.on_claimed(step, result),
            Message::Started { step, attempt, result } => self.on_started(step, attempt, result),
            Message::Told { step, attempt, told } => self.on_told(step, attempt, told),
            Message::Executed { results } => {
                for (step, attempt, result) in results {
                    self.on_told(step, attempt, Told::Collected(result));
                }
            }
            Message::PutAway => self.n_put_away -= 1,
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

    // Helpers.

    /// Cuts what is to be done into parts, one for each thread or more.
    fn in_parts<T>(&self, mut all: Vec<T>, most: usize) -> Vec<Vec<T>> {
        let part_len = all.len().div_ceil(self.pool.max_threads()).clamp(1, most);
        let mut parts = Vec::new();
        while !all.is_empty() {
            let rest = all.split_off(part_len.min(all.len()));
            parts.push(std::mem::replace(&mut all, rest));
        }
        parts
    }

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
            Because::Failed { step } | Because::Forgone { step } => format!("`{}` failed", self.name(step)),
            Because::LeftOut { step, output } => {
                resolve::say_left_out(&self.ctx, resolve::LeftOut { node: step, output })
            }
            Because::Stopped { step } => format!("nothing was started after `{}` failed", self.name(step)),
            Because::NoChampion { step } => {
                self.ctx.absence(step).unwrap_or_else(|| "there is no champion yet".to_owned())
            }
            Because::Refused { step } => format!("gate `{}` refused", self.name(step)),
            Because::Cancelled if self.trouble.is_some() => "the store could not keep the run's records".to_owned(),
            Because::Cancelled => "the run was interrupted".to_owned(),
            Because::OverBudget { step } => {
                let took = self.past_seconds[step].map(|seconds| format!(" (it took {seconds:.0} s last time)"));
                format!("`{}` would end after the run's time budget{}", self.name(step), took.unwrap_or_default())
            }
        }
    }
}
