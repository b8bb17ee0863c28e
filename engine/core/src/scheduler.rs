//! Decides what a run does next: messages in (`on_..`), commands out ([`Scheduler::next_command`]).
//!
//! A pure state machine. Every step is described by one word ([`State`]), every transition goes through
//! [`Scheduler::set`]; the queue and the counters are side views of those words. Unaware of stores, runners, keys,
//! clocks and threads: whoever drives it does the work that a command asks for and reports back.
//!
//! Who is ready starts in the order of priority, as the [`Pool`] has room. A step for which there is no room is passed
//! over by smaller ones, but not for ever: after [`MAX_PASSED`](queue::MAX_PASSED) of them, what it needs is kept for it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};

use mlp_model::{Cancel, ErrorClass, Portion, Take};

use crate::tolerance::Tolerance;
pub use pool::{Grant, Need, Pool, Shortage};
use queue::Queue;
use step::Bond;
pub use step::{Because, Command, Lookup, State, Step, StepKind};

pub(crate) mod pool;
mod queue;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod resource_tests;
#[cfg(test)]
mod round_tests;
mod step;
#[cfg(test)]
mod tests;

/// So many steps wait for other runs at once. Enough that none is missed which nobody else executes; few enough that
/// whoever gives out what runs share is not asked for all of them.
const MAX_AWAITING: usize = 64;

/// What there is to do. Steps are numbered; those of one run refer to each other by number.
pub struct Scheduler {
    steps: Vec<Step>,
    dependents: Vec<Vec<(usize, Bond)>>,
    states: Vec<State>,
    attempts: Vec<u32>,
    /// Why a step was skipped.
    causes: Vec<Option<Because>>,
    /// Inputs that a call cannot use yet, or that a decision still waits for.
    n_missing: Vec<usize>,
    /// Ready steps. May hold some that have moved on.
    queue: Queue,
    /// The same for light ones, which take nothing of the pool.
    light: BinaryHeap<(u64, Reverse<usize>)>,
    is_light: Vec<bool>,
    /// How many of them are under way.
    n_light: usize,
    pool: Pool,
    /// What each step holds of the pool.
    grants: Vec<Option<Grant>>,
    /// The GPUs of steps that were given some, and how much of each.
    gpus: HashMap<usize, Vec<(String, u64)>>,
    /// Steps that hold something of the pool and do not run yet.
    claiming: BTreeSet<usize>,
    n_awaiting: usize,
    tolerance: Tolerance,
    /// Transitions whose effect on the dependents is still to come: from what to what.
    changed: VecDeque<(usize, State, State)>,
    commands: VecDeque<Command>,
    keep_going: bool,
    /// Why nothing new is started any more.
    stop: Option<Because>,
    /// It is about to be stopped.
    is_stopping: bool,
    keeps_slots: bool,
    n_open: usize,
    n_resolving: usize,
}

/// How many light steps are under way at once: enough that who executes them never waits for the next, few enough that a
/// run which is to end has ended.
const MAX_LIGHT: usize = 64;

impl Scheduler {
    /// What steps depend on must be free of cycles and name wanted steps only; needs are those of `pool`.
    pub fn new(steps: Vec<Step>, pool: Pool, tolerance: Tolerance, keep_going: bool) -> Self {
        let n_steps = steps.len();
        let mut dependents = vec![Vec::new(); n_steps];
        for (idx, step) in steps.iter().enumerate() {
            step.bonds().for_each(|(other, bond)| dependents[other].push((idx, bond)));
        }
        let states: Vec<State> = steps
            .iter()
            .map(|step| match step.kind {
                StepKind::Unwanted => State::Unwanted,
                StepKind::Done => State::Reused,
                StepKind::Broken { .. } => State::Failed,
                _ => State::Waiting,
            })
            .collect();
        let is_missing = |(other, _): &(usize, Bond)| steps[*other].kind != StepKind::Done;
        Self {
            n_missing: steps.iter().map(|step| step.bonds().filter(is_missing).count()).collect(),
            n_open: states.iter().filter(|&&state| state == State::Waiting).count(),
            queue: Queue::new(steps.iter().map(|step| step.need.as_ref())),
            pool,
            light: BinaryHeap::new(),
            is_light: vec![false; n_steps],
            n_light: 0,
            grants: vec![None; n_steps],
            gpus: HashMap::new(),
            claiming: BTreeSet::new(),
            n_awaiting: 0,
            steps,
            dependents,
            states,
            attempts: vec![0; n_steps],
            causes: vec![None; n_steps],
            tolerance,
            changed: VecDeque::new(),
            commands: VecDeque::new(),
            keep_going,
            stop: None,
            is_stopping: false,
            keeps_slots: false,
            n_resolving: 0,
        }
    }

    /// Begins the run.
    pub fn on_started(&mut self) {
        for step in 0..self.steps.len() {
            if self.steps[step].kind == StepKind::WithoutChampion && self.states[step] == State::Waiting {
                self.skip(step, Because::NoChampion { step });
            }
        }
        self.on_broken_before();
        for step in 0..self.steps.len() {
            if self.n_missing[step] == 0 && self.states[step] == State::Waiting {
                self.begin(step);
            }
        }
        self.settle();
    }

    /// Lets failures of earlier parts of the run have their effect.
    fn on_broken_before(&mut self) {
        let mut first = None;
        for step in 0..self.steps.len() {
            let StepKind::Broken { is_tolerable } = self.steps[step].kind else { continue };
            if !self.tolerance.on_failed(step, is_tolerable) {
                first = first.or(Some(step));
            }
            self.changed.push_back((step, State::Waiting, State::Failed));
        }
        self.is_stopping |= first.is_some() && !self.keep_going;
        // Otherwise what has been skipped takes its effect with everything else.
        if self.steps.iter().any(|step| matches!(step.kind, StepKind::Broken { .. })) {
            self.propagate();
        }
        if let Some(step) = first.filter(|_| !self.keep_going) {
            self.stop(Because::Stopped { step });
        }
    }

    /// The step's key has been looked up: before it is claimed, or because another run has executed it meanwhile.
    pub fn on_key_resolved(&mut self, step: usize, lookup: Lookup) {
        match (self.states[step], lookup) {
            (State::Resolving | State::Claiming | State::Awaiting, Lookup::Hit) => self.set(step, State::Reused),
            (State::Resolving, Lookup::Miss | Lookup::LightMiss) => {
                self.is_light[step] = lookup == Lookup::LightMiss;
                self.set(step, State::Ready);
            }
            _ => {}
        }
        self.settle();
    }

    /// The claim is not answered at once: another run executes the key, or has what the step would take. Its slot goes to
    /// someone else.
    pub fn on_claim_delayed(&mut self, step: usize) {
        if self.states[step] == State::Claiming {
            self.set(step, State::Awaiting);
        }
        self.settle();
    }

    /// The right to execute the key is ours, and these portions of what all runs share.
    pub fn on_claimed(&mut self, step: usize, portions: &[Portion]) {
        let gpus = portions.iter().filter_map(|portion| Some((portion.gpu()?.to_owned(), portion.amount)));
        let gpus: Vec<_> = gpus.collect();
        if !gpus.is_empty() {
            self.gpus.insert(step, gpus);
        }
        match self.states[step] {
            State::Claiming => self.start_attempt(step),
            State::Awaiting => {
                self.set(step, State::Granted);
                self.settle();
                // Others lack what it has now. It does not wait for those here who only ask.
                if self.states[step] == State::Granted && self.stop.is_none() && !self.keeps_slots {
                    let claiming: Vec<usize> = self.claiming.iter().copied().collect();
                    claiming.into_iter().for_each(|other| self.set(other, State::Awaiting));
                }
            }
            _ => {}
        }
        self.settle();
    }

    /// The step's outputs are in the store; its record is on the way to the disk.
    pub fn on_written(&mut self, step: usize) {
        if self.states[step] == State::Running {
            self.set(step, State::Written);
        }
        self.settle();
    }

    /// The step's record is on the disk.
    pub fn on_committed(&mut self, step: usize) {
        if self.states[step] == State::Written {
            self.set(step, State::Executed);
        }
        self.settle();
    }

    /// The step, or what it does at the moment, failed. Returns whether another attempt follows.
    pub fn on_failed(&mut self, step: usize, class: ErrorClass) -> bool {
        if self.states[step] == State::Running && self.may_retry(step, class) {
            self.set(step, State::Pausing);
            self.commands.push_back(Command::Pause { step });
            self.settle();
            return true;
        }
        if self.states[step].may_become(State::Failed) {
            let is_tolerated = self.tolerance.on_failed(step, Tolerance::is_tolerable(class));
            self.set(step, State::Failed);
            // What has only waited for the step begins no more, either.
            self.is_stopping |= !is_tolerated && !self.keep_going;
            self.propagate();
            if !is_tolerated && !self.keep_going && self.stop.is_none() {
                self.stop(Because::Stopped { step });
            }
        }
        self.settle();
        false
    }

    /// The next attempt of a step may start.
    pub fn on_paused(&mut self, step: usize) {
        if self.states[step] == State::Pausing {
            self.set(step, State::Ready);
        }
        self.settle();
    }

    /// The step would end after the run's time budget: it is not started, or not tried again.
    pub fn on_over_budget(&mut self, step: usize) {
        if self.states[step].is_unstarted() {
            self.drop_step(step, Because::OverBudget { step });
        }
        self.settle();
    }

    /// What the step needs of another one is not there, although that one has ended well.
    pub fn on_left_out(&mut self, step: usize, by: usize, output: usize) {
        if self.states[step].is_unstarted() {
            self.drop_step(step, Because::LeftOut { step: by, output });
        }
        self.settle();
    }

    /// The effect is not to be done: this gate refused.
    pub fn on_refused(&mut self, step: usize, gate: usize) {
        if self.states[step].is_unstarted() {
            self.drop_step(step, Because::Refused { step: gate });
        }
        self.settle();
    }

    /// The gate or release has been decided, either way.
    pub fn on_decided(&mut self, step: usize) {
        if self.states[step] == State::Deciding {
            self.set(step, State::Decided);
        }
        self.settle();
    }

    /// Somebody wants the run to end. Nothing new is started; running steps are told to end.
    pub fn on_cancel(&mut self, how: Cancel) {
        self.stop(Because::Cancelled);
        for step in 0..self.steps.len() {
            if self.states[step] == State::Running {
                self.commands.push_back(Command::CancelStep { step, how });
            }
        }
        self.settle();
    }

    /// Whether steps wait for other runs.
    pub fn is_awaiting(&self) -> bool {
        self.n_awaiting > 0
    }

    /// Returns the steps that wait for other runs: for their keys, or what they would take.
    pub fn awaiting(&self) -> Vec<usize> {
        (0..self.states.len()).filter(|&step| self.states[step] == State::Awaiting).collect()
    }

    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Gives no slot until [`Scheduler::give_slots`]: who becomes ready by answers that are there at once has its part in
    /// the choice.
    pub fn keep_slots(&mut self) {
        self.keeps_slots = true;
    }

    /// Gives slots again; returns whether that commands something.
    pub fn give_slots(&mut self) -> bool {
        self.keeps_slots = false;
        self.fill_slots();
        !self.commands.is_empty()
    }

    /// Returns whether every step has ended.
    pub fn is_done(&self) -> bool {
        self.n_open == 0
    }

    /// Returns whether the key of some step is being looked up.
    pub fn is_resolving(&self) -> bool {
        self.n_resolving > 0
    }

    /// Returns whether the step takes nothing of the pool.
    pub fn is_light(&self, step: usize) -> bool {
        self.is_light[step]
    }

    pub fn state(&self, step: usize) -> State {
        self.states[step]
    }

    /// What has failed so far of what may fail.
    pub fn tolerance(&self) -> &Tolerance {
        &self.tolerance
    }

    /// Returns the UUIDs of the GPUs that the step may use now.
    pub fn gpus(&self, step: usize) -> Vec<String> {
        self.grants[step].as_ref().map(|grant| self.pool.gpus(grant)).unwrap_or_default()
    }

    /// Returns what a step that claims its key takes of what all runs share.
    pub fn takes(&self, step: usize) -> Vec<Take> {
        match (&self.steps[step].need, &self.grants[step]) {
            (Some(need), Some(grant)) if !self.is_light[step] => self.pool.takes(need, grant),
            _ => Vec::new(),
        }
    }

    /// Moves a step on. The only place where a state changes.
    fn set(&mut self, step: usize, next: State) {
        let from = std::mem::replace(&mut self.states[step], next);
        debug_assert!(from.may_become(next), "step {step} cannot go from {from:?} to {next:?}");
        if from.holds_slot()
            && !next.holds_slot()
            && let Some(grant) = self.grants[step].take()
        {
            self.pool.give_back(&grant);
            self.n_light -= usize::from(self.is_light[step]);
        }
        self.n_resolving =
            self.n_resolving + usize::from(next == State::Resolving) - usize::from(from == State::Resolving);
        self.n_awaiting = self.n_awaiting + usize::from(next == State::Awaiting) - usize::from(from == State::Awaiting);
        self.n_open -= usize::from(next.has_ended());
        if from == State::Claiming {
            self.claiming.remove(&step);
        }
        match next {
            State::Ready | State::Granted if self.is_light[step] => {
                // Others wait for what it has the right to.
                let priority = if next == State::Granted { u64::MAX } else { self.steps[step].priority };
                self.light.push((priority, Reverse(step)));
            }
            State::Ready => self.queue.push(step, self.steps[step].priority),
            // Others wait for what it has the right to.
            State::Granted => self.queue.push(step, u64::MAX),
            State::Claiming if !self.is_light[step] => _ = self.claiming.insert(step),
            State::Written => self.changed.push_back((step, from, next)),
            _ if next.has_ended() => self.changed.push_back((step, from, next)),
            _ => {}
        }
    }

    fn settle(&mut self) {
        self.propagate();
        self.fill_slots();
    }

    /// Lets every transition take its effect on the dependents.
    fn propagate(&mut self) {
        while let Some((step, from, state)) = self.changed.pop_front() {
            for nth in 0..self.dependents[step].len() {
                let (dependent, bond) = self.dependents[step][nth];
                if !self.states[dependent].is_unstarted() {
                    continue;
                }
                // What was written and then lost counted before.
                let is_over = matches!(state, State::Failed | State::Skipped) && from != State::Written;
                let may_go_on = match bond {
                    Bond::Needs => false,
                    Bond::Collects | Bond::Awaits => is_over,
                    Bond::IsTwin => is_over && self.tolerance.is_tolerated(step),
                };
                let kind = self.steps[dependent].kind;
                let is_decision = matches!(kind, StepKind::Gate | StepKind::Release);
                let counts = match kind {
                    StepKind::Gate | StepKind::Release => state.has_ended(),
                    StepKind::Effect { .. } => {
                        matches!(state, State::Executed | State::Reused | State::Decided) || may_go_on
                    }
                    _ => matches!(state, State::Written | State::Reused) || may_go_on,
                };
                if counts {
                    self.n_missing[dependent] -= 1;
                    if self.n_missing[dependent] == 0 {
                        self.begin(dependent);
                    }
                } else if !is_decision && matches!(state, State::Failed | State::Skipped) {
                    self.drop_step(dependent, self.root_cause(step));
                }
            }
        }
    }

    /// Takes a waiting step up, all of whose inputs have come.
    fn begin(&mut self, step: usize) {
        match self.steps[step].kind {
            StepKind::Unwanted | StepKind::WithoutChampion | StepKind::Done | StepKind::Broken { .. } => {}
            StepKind::Call { .. } | StepKind::Effect { .. } => match self.obstacle(step, true) {
                Some(because) => self.skip(step, because),
                // It is dropped with everything else that has not begun.
                None if self.is_stopping => {}
                None => {
                    self.set(step, State::Resolving);
                    self.commands.push_back(Command::ResolveKey { step });
                }
            },
            StepKind::Gate => match self.obstacle(step, false) {
                Some(because) => self.skip(step, because),
                None => {
                    self.set(step, State::Deciding);
                    self.commands.push_back(Command::DecideGate { step });
                }
            },
            StepKind::Release => {
                let blocked = self.obstacle(step, true).or(self.stop);
                self.set(step, State::Deciding);
                self.commands.push_back(Command::DecideRelease { step, blocked });
            }
        }
    }

    /// Returns why a step lacks an input. A gate has a rule for an absent champion and for what the run goes on without, nothing
    /// else has.
    fn obstacle(&self, step: usize, needs_all: bool) -> Option<Because> {
        let Step { inputs, collects, awaits, .. } = &self.steps[step];
        let is_absent = |input: &usize| matches!(self.states[*input], State::Failed | State::Skipped);
        let is_kept = |input: &usize| !self.tolerance.is_lost(*input, step);
        let of_rounds = collects.iter().copied().filter(is_absent).filter(is_kept);
        // What failed in a round that was not allowed to fail, with whatever the round has given.
        let of_rounds = of_rounds
            .chain(awaits.iter().copied().filter(|&other| self.states[other] == State::Failed).filter(is_kept));
        let absent = inputs.iter().copied().filter(is_absent).chain(of_rounds);
        let mut causes = absent.map(|input| self.root_cause(input));
        let has_rule = |cause: &Because| {
            matches!(cause, Because::NoChampion { .. } | Because::Forgone { .. } | Because::LeftOut { .. })
        };
        causes.find(|cause| needs_all || !has_rule(cause))
    }

    fn root_cause(&self, step: usize) -> Because {
        let is_forgone = self.tolerance.is_forgone(step);
        self.causes[step].unwrap_or(if is_forgone { Because::Forgone { step } } else { Because::Failed { step } })
    }

    fn skip(&mut self, step: usize, because: Because) {
        self.causes[step] = Some(because);
        self.set(step, State::Skipped);
        self.commands.push_back(Command::Skip { step, because });
    }

    /// Ends a step of which nothing runs: as skipped, or as failed if an attempt of it has failed.
    fn drop_step(&mut self, step: usize, because: Because) {
        if self.attempts[step] == 0 {
            return self.skip(step, because);
        }
        // It might have succeeded yet, so that it says nothing about its round.
        self.tolerance.on_failed(step, false);
        self.set(step, State::Failed);
        self.commands.push_back(Command::GiveUp { step, because });
    }

    fn stop(&mut self, because: Because) {
        self.stop = Some(because);
        for step in 0..self.steps.len() {
            // A release is decided in any case, if only to say that it cannot be.
            if self.states[step].is_unstarted() && self.steps[step].kind != StepKind::Release {
                self.drop_step(step, self.obstacle(step, false).unwrap_or(because));
            }
        }
    }

    /// Starts what is ready as long as there is room.
    fn fill_slots(&mut self) {
        while self.stop.is_none() && !self.keeps_slots {
            let light = self.next_light().map(|step| (step, Grant::default()));
            let states = &self.states;
            let is_ready = |step: usize| matches!(states[step], State::Ready | State::Granted);
            let may_ask = self.n_awaiting < MAX_AWAITING;
            let may_start = |step: usize| may_ask || states[step] == State::Granted;
            let next = light.or_else(|| self.queue.next(&mut self.pool, is_ready, may_start));
            let Some((step, grant)) = next else { return };
            self.grants[step] = Some(grant);
            match self.states[step] {
                State::Ready => {
                    self.set(step, State::Claiming);
                    self.commands.push_back(Command::Claim { step });
                }
                _ => self.start_attempt(step),
            }
        }
    }

    /// Takes out the light step that starts next.
    fn next_light(&mut self) -> Option<usize> {
        while self.n_light < MAX_LIGHT
            && let Some(&(_, Reverse(step))) = self.light.peek()
        {
            let state = self.states[step];
            if state == State::Ready && self.n_awaiting >= MAX_AWAITING {
                return None;
            }
            self.light.pop();
            if matches!(state, State::Ready | State::Granted) {
                self.n_light += 1;
                return Some(step);
            }
        }
        None
    }

    fn start_attempt(&mut self, step: usize) {
        self.set(step, State::Running);
        if let (Some(grant), Some(gpus)) = (&mut self.grants[step], self.gpus.get(&step)) {
            self.pool.move_to(grant, gpus);
        }
        self.attempts[step] += 1;
        self.commands.push_back(Command::StartStep { step, attempt: self.attempts[step] });
    }

    fn may_retry(&self, step: usize, class: ErrorClass) -> bool {
        let (StepKind::Call { retries } | StepKind::Effect { retries }) = self.steps[step].kind else { return false };
        // The record of an input may have been lost after this step had started.
        let Step { inputs, collects, .. } = &self.steps[step];
        let stands = |input: &usize| self.states[*input] != State::Failed || self.tolerance.is_lost(*input, step);
        let inputs_stand = inputs.iter().chain(collects).all(stands);
        self.stop.is_none()
            && inputs_stand
            && self.attempts[step] <= retries
            && matches!(class, ErrorClass::Step | ErrorClass::Environment)
    }
}
