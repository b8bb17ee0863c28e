//! The words of the scheduler: what there is to do, how far it is, and what is to be done next.

use mlp_model::Cancel;

use super::pool::Need;

/// One node of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub kind: StepKind,
    /// Whose results it needs.
    pub inputs: Vec<usize>,
    /// Whose results it takes, but for those of rounds that have failed and may.
    pub collects: Vec<usize>,
    /// What else there is in the rounds of those: it waits until that has ended.
    pub awaits: Vec<usize>,
    /// Does the same as this one, and waits for its result.
    pub twin: Option<usize>,
    /// How long the longest way from here to an end is: what is ready starts in the order of this.
    pub priority: u64,
    /// Of a call: what it takes of the pool while it runs. `None`: nothing.
    pub need: Option<Need>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// Not part of this run.
    Unwanted,
    /// A source or step. `retries`: further attempts after a failed one.
    Call {
        retries: u32,
    },
    /// A call that writes outside: begins only when all before it is on the disk and decided, so that it is never done
    /// for something that a crash takes back.
    Effect {
        retries: u32,
    },
    /// A call that reads a champion which does not exist yet.
    WithoutChampion,
    /// Came to its result in an earlier part of the run.
    Done,
    /// Failed in an earlier part of the run.
    Broken {
        is_tolerable: bool,
    },
    Gate,
    Release,
}

/// How a step depends on another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bond {
    Needs,
    Collects,
    Awaits,
    IsTwin,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    Unwanted,
    /// An input is not there yet.
    Waiting,
    /// Its key is being computed and looked up.
    Resolving,
    /// Must be executed; waits for a slot.
    Ready,
    /// Has a slot and asks for the right to execute its key.
    Claiming,
    /// Another run executes the same key, or has what the step would take; no slot is held meanwhile.
    Awaiting,
    /// Has the right to execute its key; waits for a slot.
    Granted,
    Running,
    /// An attempt failed, and the next one has to wait a while. Holds neither a slot nor the right to execute its key.
    Pausing,
    /// Its outputs are in the store: dependents may use them. Not acknowledged yet.
    Written,
    /// A gate or release is being decided.
    Deciding,
    /// Executed and durably recorded.
    Executed,
    Reused,
    Decided,
    Failed,
    Skipped,
}

/// Why a step does not run. Names the step at the root of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Because {
    /// Needs the result of this step, which failed.
    Failed { step: usize },
    /// Needs the result of this step, which reads a champion that does not exist yet. No failure.
    NoChampion { step: usize },
    /// Needs the result of this step, which failed, and without which the run goes on.
    Forgone { step: usize },
    /// Needs an output of this step, which the step has left out: the one at this place.
    LeftOut { step: usize, output: usize },
    /// Nothing is started any more since this step failed.
    Stopped { step: usize },
    /// The run was interrupted.
    Cancelled,
    /// May be done only if this gate passes, and it refused.
    Refused { step: usize },
    /// Needs the result of this step, which would have ended after the run's time budget.
    OverBudget { step: usize },
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Compute the step's key and look it up; answer with `on_key_resolved`.
    ResolveKey { step: usize },
    /// Ask for the right to execute the key; answer with `on_claimed`, or `on_key_resolved` if another run did it.
    Claim { step: usize },
    /// Answer with `on_written` or `on_failed`.
    StartStep { step: usize, attempt: u32 },
    /// Answer with `on_decided`.
    DecideGate { step: usize },
    /// Answer with `on_decided`. `blocked`: something it needs is not there, so that it can only be refused.
    DecideRelease { step: usize, blocked: Option<Because> },
    /// The step has ended without being run; no answer.
    Skip { step: usize, because: Because },
    /// An attempt failed and another follows; answer with `on_paused` once it may start.
    Pause { step: usize },
    /// The step has failed and will not be tried again after all; no answer.
    GiveUp { step: usize, because: Because },
    /// The running step is to end; it still answers.
    CancelStep { step: usize, how: Cancel },
}

/// Whether a stored result fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    Hit,
    Miss,
    /// As [`Lookup::Miss`], of a step that is so little work that it takes nothing of the pool.
    LightMiss,
}

impl Step {
    pub(super) fn bonds(&self) -> impl Iterator<Item = (usize, Bond)> + '_ {
        let with = |bond| move |other: &usize| (*other, bond);
        let of_rounds =
            self.collects.iter().map(with(Bond::Collects)).chain(self.awaits.iter().map(with(Bond::Awaits)));
        self.inputs.iter().map(with(Bond::Needs)).chain(of_rounds).chain(self.twin.iter().map(with(Bond::IsTwin)))
    }
}

impl State {
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Executed | Self::Reused | Self::Decided | Self::Failed | Self::Skipped)
    }

    /// Nothing is executed for a step in this state: not yet, or not at the moment.
    pub(super) fn is_unstarted(self) -> bool {
        use State::*;
        matches!(self, Waiting | Resolving | Ready | Claiming | Awaiting | Granted | Pausing)
    }

    pub(super) fn holds_slot(self) -> bool {
        matches!(self, Self::Claiming | Self::Running)
    }

    pub(super) fn may_become(self, next: Self) -> bool {
        use State::*;
        match self {
            Waiting => matches!(next, Resolving | Deciding | Skipped),
            Resolving => matches!(next, Ready | Reused | Failed | Skipped),
            Ready => matches!(next, Claiming | Skipped | Failed),
            Claiming => matches!(next, Running | Awaiting | Reused | Failed | Skipped),
            Awaiting => matches!(next, Granted | Reused | Failed | Skipped),
            Granted => matches!(next, Running | Skipped | Failed),
            Running => matches!(next, Written | Failed | Pausing),
            Pausing => matches!(next, Ready | Failed),
            Written => matches!(next, Executed | Failed),
            Deciding => matches!(next, Decided | Failed),
            Unwanted | Executed | Reused | Decided | Failed | Skipped => false,
        }
    }
}
