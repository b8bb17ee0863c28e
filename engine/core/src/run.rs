//! Runs a pipeline: what is asked, what comes out, and how a run begins and ends.
//!
//! The loop itself is in [`drive`]; what blocks is done by [`attempt`] and [`decide`] on the threads of [`pool`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mlp_model::{
    Cancel, CheckResult, Decision, ErrorClass, Event, FailedRounds, GateCounts, LoopLimit, Machine, Pipeline, Plan,
    Record, RunId, RunStatus, StepCounts, StepError, StoreError, Timestamp, fail_point,
};
use tokio::sync::{oneshot, watch};

use crate::answer::answer;
use crate::context::{Context, Request, Runners, call_of};
use crate::fault::store_trouble;
use crate::plan::Outlook;
use crate::predict::{self, Forecast};
use crate::scheduler::{Need, Pool as Resources, Step};
use crate::{Engine, Loops, RunError};
use drive::{Carried, Drive};
use parts::Parts;
use pool::Pool;

pub(crate) mod attempt;
mod backoff;
mod claim;
mod decide;
mod drive;
mod light;
mod parts;
mod pool;
pub(crate) mod scratch;

pub use decide::ReleaseOutcome;

/// What to run, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRequest {
    pub run: RunId,
    /// The pipeline file, relative to the workspace.
    pub file: String,
    /// Nodes to bring up to date, with all they need; empty: the whole pipeline.
    pub targets: Vec<String>,
    /// Leaves out everything that none of these needs.
    pub until: Vec<String>,
    /// Leaves out everything that needs none of these, and that nothing of the rest needs.
    pub from: Vec<String>,
    /// Steps whose stored results are to be ignored.
    pub force: Vec<String>,
    /// Goes on with what does not depend on a failed step.
    pub keep_going: bool,
    /// How many cores the steps may use at once; at least 1. A step that does not say more uses one.
    pub jobs: usize,
    /// What else there is for them.
    pub machine: Machine,
    /// Starts no step that would, going by its past, end later than this after the beginning of the run.
    pub budget: Option<Duration>,
    /// Parameters given by hand, as the language writes them.
    pub params_given: BTreeMap<String, String>,
    /// What started the run: `by hand`.
    pub trigger: String,
    pub mlp_version: String,
    pub host: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOutcome {
    pub run: RunId,
    pub status: RunStatus,
    pub steps: StepCounts,
    pub gates: GateCounts,
    /// In the order in which they happened; the last attempt of each failed step, gate or release.
    pub failures: Vec<Failure>,
    /// Of loops that tolerate failed rounds.
    pub failed_rounds: Vec<FailedRounds>,
    pub gate_results: Vec<GateResult>,
    pub releases: Vec<ReleaseResult>,
    pub seconds: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub step: String,
    pub error: StepError,
    /// The run does not fail for it.
    pub is_tolerated: bool,
}

impl Failure {
    fn new(step: impl Into<String>, error: StepError) -> Self {
        Self { step: step.into(), error, is_tolerated: false }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct GateResult {
    pub gate: String,
    pub passed: bool,
    pub checks: Vec<CheckResult>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseResult {
    pub release: String,
    pub outcome: ReleaseOutcome,
}

impl Engine {
    /// Brings the targets up to date and decides their gates and releases. Must be called inside a tokio runtime.
    ///
    /// `on_event` hears of everything in order; `RunStarted` is first and `RunFinished` last. A step that failed is no
    /// error here: see [`RunOutcome::status`].
    ///
    /// # Errors
    /// An unknown name, before anything happens; or the store, when it can no longer keep what the run does.
    pub async fn run(
        &self,
        pipeline: &Pipeline,
        request: RunRequest,
        on_event: impl FnMut(&Event) + Send,
        cancel: watch::Receiver<Option<Cancel>>,
    ) -> Result<RunOutcome, RunError> {
        self.run_unfolding(&Arc::new(pipeline.clone()), None, request, on_event, cancel).await
    }

    /// As [`Engine::run`], for a pipeline with loops whose values the run has to tell first: what they go over is brought up to
    /// date, then the run goes on with the nodes of their rounds.
    ///
    /// # Errors
    /// See [`Engine::run`]. That a loop cannot be unfolded is a failure of the run.
    pub async fn run_unfolding(
        &self,
        pipeline: &Arc<Pipeline>,
        loops: Option<Loops>,
        request: RunRequest,
        mut on_event: impl FnMut(&Event) + Send,
        cancel: watch::Receiver<Option<Cancel>>,
    ) -> Result<RunOutcome, RunError> {
        let wanted = Request::select(pipeline, &request)?;
        let needs = needs(&self.runners, pipeline, &wanted, &request);
        if !needs.unmet.is_empty() || needs.may_lack {
            // Whether such a step has to run at all is found out before the run begins: nothing is to be undone then.
            let wanted = Request::select(pipeline, &request)?;
            let (_, ahead) = self.look_ahead(pipeline, wanted, needs.clone()).await?;
            ahead.refuse_unmet()?;
        }
        let started_at = (self.clock)();
        let n_steps = pipeline.nodes.iter().zip(&wanted.is_wanted);
        let n_steps =
            n_steps.filter(|(node, is_wanted)| **is_wanted && crate::context::call_of(node).is_some()).count();
        fail_point("run.planned");
        let begun = self.commit(vec![started_record(pipeline, &request, started_at)]);
        fail_point("run.begun");
        on_event(&Event::RunStarted {
            version: Event::VERSION,
            run: request.run.clone(),
            pipeline: pipeline.name.clone(),
            file: request.file.clone(),
            at: started_at,
            n_steps,
        });
        let mut outcome = RunOutcome {
            run: request.run.clone(),
            status: RunStatus::Failed,
            steps: StepCounts::default(),
            gates: GateCounts::default(),
            failures: Vec::new(),
            failed_rounds: Vec::new(),
            gate_results: Vec::new(),
            releases: Vec::new(),
            seconds: 0.0,
        };
        let mut parts = Parts { request: &request, started_at, loops, cancel, carried: Carried::default() };
        let trouble = self.run_parts(pipeline, (wanted, needs), &mut parts, &mut outcome, &mut on_event).await;
        for failed in &outcome.failed_rounds {
            on_event(&Event::RoundsFailed { run: request.run.clone(), failed: failed.clone() });
        }
        let at = (self.clock)();
        outcome.seconds = (at.0 - started_at.0).max(0) as f64 / 1000.0;
        let finished = Record::RunFinished {
            run: request.run.clone(),
            status: outcome.status,
            steps: outcome.steps,
            gates: outcome.gates,
            seconds: outcome.seconds,
            at,
        };
        fail_point("run.finishing");
        let mut rest = parts.carried.rest;
        rest.push(finished);
        let kept = begun.await.and(self.commit(rest).await);
        fail_point("run.finished");
        if kept.is_err() {
            outcome.status = RunStatus::Failed;
        }
        on_event(&Event::RunFinished {
            run: request.run,
            status: outcome.status,
            steps: outcome.steps,
            gates: outcome.gates,
            seconds: outcome.seconds,
        });
        match trouble.map_or(kept, Err) {
            Ok(()) => Ok(outcome),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs what loops go over, unfolds them, and so on until everything is known; then runs all the rest.
    async fn run_parts<F: FnMut(&Event) + Send>(
        &self,
        pipeline: &Arc<Pipeline>,
        (wanted, needs): (Request, Needs),
        parts: &mut Parts<'_>,
        outcome: &mut RunOutcome,
        on_event: &mut F,
    ) -> Option<StoreError> {
        let request = parts.request;
        let pool = Pool::new(request.jobs.max(std::thread::available_parallelism().map_or(2, |n| n.get())));
        let (mut pipeline, mut wanted) = (Arc::clone(pipeline), Some((wanted, needs)));
        let (mut is_planned, mut is_unfolded) = (false, false);
        loop {
            let (wanted, needs) = match wanted.take() {
                Some(found) => found,
                None => match self.select_again(&pipeline, request) {
                    Ok(found) => found,
                    Err(error) => {
                        parts.refuse(vec![Failure::new("targets", error)], outcome, on_event);
                        outcome.status = status(outcome, false, false);
                        return None;
                    }
                },
            };
            let (ctx, mut ahead) = match self.look_ahead(&pipeline, wanted, needs).await {
                Ok((ctx, ahead)) => (Arc::new(ctx), ahead),
                Err(error) => return Some(error),
            };
            if !std::mem::replace(&mut is_planned, true) {
                on_event(&Event::Planned { run: request.run.clone(), steps: ahead.outlook.steps.clone() });
            }
            // Of the pipeline as it was given, this was looked at before the run began.
            let unmet = if is_unfolded { ahead.unmet() } else { Vec::new() };
            if !unmet.is_empty() {
                parts.refuse(unmet, outcome, on_event);
                outcome.status = status(outcome, false, false);
                return None;
            }
            let open = parts.open(&ctx);
            let part = match open.is_empty() {
                true => vec![true; pipeline.nodes.len()],
                false => ctx.request.graph.with_ancestors(open.iter().map(|waits| waits.node)),
            };
            let carried = std::mem::take(&mut parts.carried);
            carried.limit(&ctx, &mut ahead.steps, &part);
            let (clock, pool) = ((Arc::clone(&self.clock), parts.started_at), Arc::clone(&pool));
            let drive = Drive::new(Arc::clone(&ctx), request, clock, pool, (ahead, carried), outcome, on_event);
            let (trouble, carried) = drive.run(parts.cancel.clone(), open.is_empty()).await;
            parts.carried = carried;
            if trouble.is_some() || open.is_empty() {
                free_elsewhere(Arc::into_inner(ctx).map(|ctx| (ctx.pipeline, ctx.request, ctx.sources)));
                return trouble;
            }
            if let Some(unfolded) = parts.unfold(&ctx, &open, outcome, on_event).await {
                pipeline = Arc::new(unfolded);
                is_unfolded = true;
            }
        }
    }

    /// Finds what a run is about once more, in the pipeline with the rounds of its loops.
    fn select_again(&self, pipeline: &Pipeline, request: &RunRequest) -> Result<(Request, Needs), StepError> {
        let wanted = Request::select(pipeline, request);
        let wanted = wanted.map_err(|error| StepError::new(ErrorClass::User, "N6105", error.to_string()))?;
        let needs = needs(&self.runners, pipeline, &wanted, request);
        Ok((wanted, needs))
    }

    /// Digests sources and looks up keys, on a thread where it may block.
    async fn look_ahead(
        &self,
        pipeline: &Arc<Pipeline>,
        request: Request,
        needs: Needs,
    ) -> Result<(Context, Ahead), StoreError> {
        let pipeline = Arc::clone(pipeline);
        let gather = {
            let engine = Self {
                store: Arc::clone(&self.store),
                runners: Arc::clone(&self.runners),
                clock: Arc::clone(&self.clock),
                salt: self.salt.clone(),
            };
            move || {
                let ctx = engine.gather(pipeline, request)?;
                let ahead = Ahead::look(&ctx, needs)?;
                Ok((ctx, ahead))
            }
        };
        match tokio::task::spawn_blocking(gather).await {
            Ok(found) => found,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Sends records off; the answer tells when they are on the disk.
    fn commit(&self, records: Vec<Record>) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let (tell, hear) = oneshot::channel();
        self.store.commit(records, None, answer(move |result| _ = tell.send(result)));
        async move { hear.await.unwrap_or(Ok(())) }
    }
}

/// Frees what a large run has gathered on another thread: nobody has to wait for that.
fn free_elsewhere<T: Send + 'static>(gathered: T) {
    tokio::task::spawn_blocking(move || drop(gathered));
}

/// What the run's steps need, and of what.
#[derive(Clone)]
pub(crate) struct Needs {
    pool: Resources,
    /// Of each node.
    needs: Vec<Option<Need>>,
    /// Demands that can never be met, with the nodes that make them. No harm where a stored result is reused.
    unmet: Vec<(usize, Failure)>,
    /// Whether what runners lack has to be found out before anything runs.
    may_lack: bool,
}

/// Takes the demands of the wanted steps into numbers.
pub(crate) fn needs(runners: &Runners, pipeline: &Pipeline, wanted: &Request, request: &RunRequest) -> Needs {
    let pool = Resources::new(request.jobs, &with_limits(&request.machine, pipeline));
    let (mut unmet, mut may_lack) = (Vec::new(), false);
    let mut needs = Vec::with_capacity(pipeline.nodes.len());
    for (idx, node) in pipeline.nodes.iter().enumerate() {
        let Some(call) = call_of(node).filter(|_| wanted.is_wanted[idx]) else {
            needs.push(None);
            continue;
        };
        may_lack |= runners.get(&*call.runner).is_some_and(|runner| runner.may_lack(call));
        may_lack |= call.options.partition.is_some();
        let implied = runners.get(&*call.runner).map(|runner| runner.implied_demand(call)).unwrap_or_default();
        let mut demand = call.options.demand.clone();
        demand.tokens.extend(call.options.limits.iter().map(|limit| (token_of(limit), 1)));
        match pool.need(&demand, &implied) {
            Ok(need) => needs.push(Some(need)),
            Err(shortages) => {
                needs.push(None);
                unmet.extend(shortages.into_iter().map(|shortage| {
                    let class = if shortage.is_setting { ErrorClass::User } else { ErrorClass::Environment };
                    let error = StepError::new(class, "N6601", shortage.message).with_help(shortage.help);
                    let error = error.with_argument(format!("with.{}", shortage.option));
                    (idx, Failure::new(&node.name, error))
                }));
            }
        }
    }
    Needs { pool, needs, unmet, may_lack }
}

/// Returns the machine with a token for each loop that limits how many of its steps run at once.
fn with_limits(machine: &Machine, pipeline: &Pipeline) -> Machine {
    let mut machine = machine.clone();
    for limit in pipeline.nodes.iter().filter_map(call_of).flat_map(|call| &call.options.limits) {
        let most = machine.tokens.entry(token_of(limit)).or_insert(limit.most);
        *most = limit.most.min(*most);
    }
    machine
}

/// Nobody else's token has a blank in its name.
fn token_of(limit: &LoopLimit) -> String {
    format!("loop {}", limit.name)
}

/// Everything that is known before the first step starts.
pub(crate) struct Ahead {
    pub outlook: Outlook,
    pub steps: Vec<Step>,
    pub pool: Resources,
    unmet: Vec<(usize, Failure)>,
}

impl Ahead {
    pub(crate) fn look(ctx: &Context, mut needs: Needs) -> Result<Self, StoreError> {
        let mut outlook = Outlook::new(ctx);
        predict::recall_uncertain(ctx, &mut outlook)?;
        for (step, &node) in outlook.steps.iter().zip(&outlook.nodes) {
            if let (Some(mem_bytes), Some(need)) = (step.mem_bytes, &mut needs.needs[node]) {
                needs.pool.learn(need, mem_bytes);
            }
        }
        let steps = predict::steps_of(ctx, &outlook, &needs.needs);
        let mut ahead = Self { outlook, steps, pool: needs.pool, unmet: needs.unmet };
        if needs.may_lack {
            ahead.unmet.extend(ahead.lacking(ctx));
        }
        Ok(ahead)
    }

    /// Refuses demands that can never be met, of steps that run or may have to.
    pub(crate) fn refuse_unmet(&self) -> Result<(), RunError> {
        let unmet = self.unmet();
        if unmet.is_empty() { Ok(()) } else { Err(RunError::Unmet(unmet)) }
    }

    /// Returns the demands that can never be met, of steps that run or may have to: a stored result needs nothing.
    pub(crate) fn unmet(&self) -> Vec<Failure> {
        self.unmet.iter().filter(|(node, _)| self.may_run(*node)).map(|(_, failure)| failure.clone()).collect()
    }

    fn may_run(&self, node: usize) -> bool {
        let at = self.outlook.nodes.iter().position(|&planned| planned == node);
        at.is_some_and(|at| matches!(self.outlook.steps[at].decision, Decision::Run | Decision::Unknown { .. }))
    }

    /// Asks what the steps lack that run or may have to: runners, and the store that is to encrypt what they make.
    fn lacking(&self, ctx: &Context) -> Vec<(usize, Failure)> {
        let lacking = self.outlook.nodes.iter().filter(|node| self.may_run(**node)).filter_map(|&idx| {
            let call = call_of(ctx.node(idx))?;
            let runner = ctx.runners.get(&*call.runner).filter(|runner| runner.may_lack(call));
            let partition = call.options.partition.as_deref();
            let keyless = || {
                let mut error = store_trouble(&ctx.store.may_keep(partition?).err()?);
                error.message = format!("its outputs cannot be kept: {}", error.message);
                Some(error.with_argument("with.partition"))
            };
            let error = runner.and_then(|runner| runner.lacks(call)).or_else(keyless)?;
            Some((idx, Failure::new(&ctx.node(idx).name, error)))
        });
        lacking.collect()
    }

    pub(crate) fn plan(self, ctx: &Context) -> Plan {
        let Forecast { seconds, seconds_at_most } = predict::forecast(ctx, &self.outlook, &self.steps, &self.pool);
        Plan {
            pipeline: ctx.pipeline.name.clone(),
            seconds,
            seconds_at_most,
            n_without_past: self.outlook.n_without_past(),
            steps: self.outlook.steps,
        }
    }
}

fn started_record(pipeline: &Pipeline, request: &RunRequest, at: Timestamp) -> Record {
    Record::RunStarted {
        run: request.run.clone(),
        pipeline: pipeline.name.clone(),
        file: request.file.clone(),
        params: request.params_given.clone(),
        trigger: request.trigger.clone(),
        mlp_version: request.mlp_version.clone(),
        host: request.host.clone(),
        at,
    }
}

/// Returns how a run ended, from what happened in it.
fn status(outcome: &RunOutcome, was_interrupted: bool, was_over_budget: bool) -> RunStatus {
    let mut failures = outcome.failures.iter().filter(|failure| !failure.is_tolerated).peekable();
    if was_interrupted {
        RunStatus::Cancelled
    } else if failures.clone().any(|failure| failure.error.class == ErrorClass::Data) {
        RunStatus::Rejected
    } else if failures.peek().is_some() {
        RunStatus::Failed
    } else if was_over_budget {
        RunStatus::OverBudget
    } else if outcome.gates.refused > 0 {
        RunStatus::Refused
    } else {
        RunStatus::Succeeded
    }
}
