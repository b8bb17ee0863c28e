//! Says why a step ran or was reused: which fields of its key differ from its nearest earlier key, and what upstream
//! made them differ, down to the source files.
//!
//! Answers from stored keys, so it works when the sources are gone. Prints nothing.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use mlp_model::{
    CacheKey, Decision, Digest, Input, InputRecord, KeyId, Pipeline, Record, Round, RunId, StepError, StepId,
    StoreError, Stored, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::context::{Request, call_of};
use crate::explain::{Difference, FieldChange, FieldName, compare};
use crate::history::{Memory, Past, past, read_key};
use crate::names::{UnknownName, find_node};
use crate::plan::Outlook;
use crate::{Engine, RunError};

/// The answer of `mlp why`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    pub step: StepId,
    /// Its newest record with a result.
    pub latest: Option<Attempt>,
    /// The failed attempts of the run that executed it, oldest first: it succeeded at a later one.
    pub failed_before: Vec<FailedAttempt>,
    /// A failure since then.
    pub failed_since: Option<FailedAttempt>,
    /// What it collects and has nothing of, since steps of their rounds failed in the run that executed it.
    #[serde(default)]
    pub without: Vec<String>,
    /// Against what its key was compared; `None`: nothing like it is known.
    pub comparison: Option<Comparison>,
    /// What made the differing inputs differ: first those of the step itself, then those of the steps that made
    /// them, each once.
    pub chain: Vec<Link>,
    /// What a run would do now; `None` without the pipeline, or when the pipeline has no such step.
    pub now: Option<Now>,
}

/// A step in a run, with a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub step: StepId,
    pub run: RunId,
    pub at: Timestamp,
    pub op: String,
    pub key: KeyId,
    pub how: HowItCame,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum HowItCame {
    Executed {
        attempt: u32,
        seconds: f64,
    },
    /// `from_step` differs from the step after a rename, or when two steps do the same.
    Reused {
        from_run: RunId,
        from_step: Option<StepId>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedAttempt {
    pub run: RunId,
    pub at: Timestamp,
    pub attempt: u32,
    pub error: StepError,
}

/// The key of the latest record against an earlier one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The step's own nearest result; for a step without one, the nearest of the same operation.
    pub with: Attempt,
    /// Nothing changed: for an executed step, it was forced, or its stored outputs were missing or damaged.
    pub difference: Difference,
}

/// An input that differs, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The step that reads it, and its argument.
    pub reader: String,
    pub argument: String,
    /// What a person calls it: a path, `NODE.OUTPUT` or `RELEASE@VERSION.PART`.
    pub shown: String,
    pub before: Option<Digest>,
    pub after: Option<Digest>,
    pub cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// A file or folder from outside has other content.
    Content,
    /// It is bound to something else: another path, step or version.
    Bound { before: Option<String>, after: Option<String> },
    /// The step that makes it had another key.
    Step { before: Attempt, after: Attempt, changed: Vec<FieldChange> },
    /// The step that makes it gave other bytes under the same key: it is not deterministic.
    NotDeterministic { before: Attempt, after: Attempt },
}

/// What a run would do with the step now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Now {
    #[serde(flatten)]
    pub decision: Decision,
    pub reason: String,
    /// Against the latest record; `None` if the key cannot be known before something else has run.
    pub difference: Option<Difference>,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WhyError {
    #[error("nothing is known of step `{}`: it never had a result here", .step)]
    NeverSeen { step: StepId, suggestion: Option<String> },
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WhyError {
    /// Returns what to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NeverSeen { suggestion, .. } => suggestion.as_ref().map(|name| format!("did you mean `{name}`?")),
            Self::Run(error) => error.help(),
            Self::Store(error) => crate::fault::store_trouble(error).help,
        }
    }
}

/// How many records of a step or operation are looked at.
const MAX_HISTORY: usize = 64;

impl Engine {
    /// Explains the newest record of a step. With the pipeline, also says what a run would do now.
    pub fn why(&self, step: &StepId, pipeline: Option<&Pipeline>) -> Result<Why, WhyError> {
        let mut unknown: Option<UnknownName> = None;
        let node = pipeline.and_then(|pipeline| {
            find_node(pipeline, &step.step).map(|node| (pipeline, node)).map_err(|error| unknown = Some(error)).ok()
        });
        let step = match node {
            Some((pipeline, idx)) => StepId { step: pipeline.nodes[idx].name.clone(), ..step.clone() },
            None => step.clone(),
        };
        let history = self.store.step_history(&step, MAX_HISTORY)?;
        let mut known = Vec::new();
        for stored in &history {
            known.extend(past(&*self.store, stored)?);
        }
        if known.is_empty() && node.is_none() {
            return Err(WhyError::NeverSeen { step, suggestion: unknown.and_then(|unknown| unknown.suggestion) });
        }
        let mut memory = Memory::new(&*self.store);
        let latest = known.first();
        let latest_key = latest.map(|latest| read_key(&*self.store, &latest.result)).transpose()?.flatten();
        let mut why = Why {
            failed_before: latest.map_or_else(Vec::new, |latest| failed_before(&history, latest)),
            failed_since: failed_since(&history, latest.map_or(0, |latest| latest.seq)),
            latest: latest.map(|latest| attempt(&mut memory, latest)).transpose()?,
            without: Vec::new(),
            comparison: None,
            chain: Vec::new(),
            now: None,
            step,
        };
        if let (Some(latest), Some(key)) = (latest, &latest_key)
            && let Some((nearest, difference)) = self.nearest(latest, key, &known[1..], pipeline)?
        {
            why.chain = chain(&mut memory, nearest.clone(), latest.clone(), &difference)?;
            why.comparison = Some(Comparison { with: attempt(&mut memory, &nearest)?, difference });
        }
        if let (Some((pipeline, idx)), Some(latest)) = (node, latest) {
            why.without = self.without(pipeline, idx, latest)?;
        }
        if let Some((pipeline, _)) = node {
            why.now = self.now(&why.step.step, pipeline, latest_key.as_ref())?;
        }
        Ok(why)
    }

    /// Returns what a result has nothing of, as the pipeline is now: members of rounds that failed in the run that executed it.
    fn without(&self, pipeline: &Pipeline, idx: usize, latest: &Past) -> Result<Vec<String>, StoreError> {
        let Some(call) = call_of(&pipeline.nodes[idx]).filter(|call| !call.options.collects.is_empty()) else {
            return Ok(Vec::new());
        };
        let mut failed: HashSet<&Round> = HashSet::new();
        for stored in self.store.run_records(&latest.executed_in)? {
            if let Record::StepFailed { step, .. } = &stored.record
                && let Some((_, node)) = pipeline.node(&step.step)
            {
                failed.extend(node.rounds());
            }
        }
        let is_there = |name: &String| latest.result.inputs.iter().any(|input| input.name == *name);
        let missing = call.options.collects.iter().filter(|name| !is_there(name)).filter_map(|name| {
            let Input::Output { node, output } = call.inputs.get(name)? else { return None };
            let node = &pipeline.nodes[*node];
            let is_lost = node.rounds().iter().any(|round| failed.contains(round));
            is_lost.then(|| format!("{}.{output}", node.name))
        });
        Ok(missing.collect())
    }

    /// Finds the earlier key with the fewest differences; among equals, the newest.
    fn nearest(
        &self,
        latest: &Past,
        key: &CacheKey,
        earlier: &[Past],
        pipeline: Option<&Pipeline>,
    ) -> Result<Option<(Past, Difference)>, StoreError> {
        // That a reused step equals what it was reused from says nothing; what was different before does.
        let may_be_equal = !latest.is_reused();
        let of_step = earlier.iter().filter(|past| may_be_equal || past.result.key != latest.result.key);
        if let Some(found) = self.nearest_of(key, of_step.cloned())? {
            return Ok(Some(found));
        }
        let mut of_op = Vec::new();
        for stored in self.store.op_history(&latest.result.op, MAX_HISTORY)? {
            let Some(found) = past(&*self.store, &stored)? else { continue };
            let is_another_step = pipeline.is_some_and(|pipeline| {
                found.step.pipeline == pipeline.name && pipeline.node(&found.step.step).is_some()
            });
            let is_the_reused = latest.is_reused() && found.result.key == latest.result.key;
            if found.step != latest.step && found.seq < latest.seq && (is_the_reused || !is_another_step) {
                of_op.push(found);
            }
        }
        self.nearest_of(key, of_op.into_iter())
    }

    fn nearest_of(
        &self,
        key: &CacheKey,
        candidates: impl Iterator<Item = Past>,
    ) -> Result<Option<(Past, Difference)>, StoreError> {
        let mut nearest: Option<(Past, Difference)> = None;
        let mut seen = HashSet::new();
        for candidate in candidates.filter(|candidate| seen.insert(candidate.result.key)) {
            let Some(before) = read_key(&*self.store, &candidate.result)? else { continue };
            let difference = compare(&before, key);
            let is_nearer = nearest.as_ref().is_none_or(|(_, nearest)| {
                let rank = |difference: &Difference| (difference.same.len(), usize::MAX - difference.changed.len());
                rank(&difference) > rank(nearest)
            });
            if is_nearer {
                nearest = Some((candidate, difference));
            }
        }
        Ok(nearest)
    }

    fn now(&self, step: &str, pipeline: &Pipeline, before: Option<&CacheKey>) -> Result<Option<Now>, WhyError> {
        let request = Request::check(pipeline, &[step.to_owned()], &[])?;
        let ctx = self.gather(Arc::new(pipeline.clone()), request)?;
        let outlook = Outlook::new(&ctx);
        let Some(planned) = outlook.steps.iter().find(|planned| planned.step == step) else { return Ok(None) };
        let resolved = pipeline.node(step).and_then(|(idx, _)| outlook.resolved[idx].as_ref()?.as_ref().ok());
        let difference = before.zip(resolved).map(|(before, resolved)| compare(before, &resolved.key));
        Ok(Some(Now { decision: planned.decision.clone(), reason: planned.reason.clone(), difference }))
    }
}

/// Follows differing inputs upstream, each once.
fn chain(memory: &mut Memory<'_>, before: Past, after: Past, difference: &Difference) -> Result<Vec<Link>, StoreError> {
    let mut links = Vec::new();
    let mut seen = HashSet::new();
    let mut open = VecDeque::from([(before, after, difference.changed.clone())]);
    while let Some((before, after, changed)) = open.pop_front() {
        for argument in changed.iter().filter_map(|change| match &change.field {
            FieldName::Input { name } => Some(name),
            _ => None,
        }) {
            let find = |past: &Past| past.result.inputs.iter().find(|input| input.name == *argument).cloned();
            let (input_before, input_after) = (find(&before), find(&after));
            let digest = |input: &Option<InputRecord>| input.as_ref().map(|input| input.digest);
            let pair = (digest(&input_before), digest(&input_after));
            // The same bytes may stand on several steps of the way: a name belongs to what was seen.
            if !seen.insert((pair, shown(&input_before), shown(&input_after))) {
                continue;
            }
            let made_before = maker(memory, &before, &input_before)?;
            let made_after = maker(memory, &after, &input_after)?;
            let cause = match (made_before, made_after) {
                (Some(made_before), Some(made_after)) => {
                    let (past_before, past_after) = (attempt(memory, &made_before)?, attempt(memory, &made_after)?);
                    let keys =
                        (read_key(memory.store, &made_before.result)?, read_key(memory.store, &made_after.result)?);
                    if made_before.result.key == made_after.result.key {
                        Cause::NotDeterministic { before: past_before, after: past_after }
                    } else {
                        let changed = match keys {
                            (Some(before), Some(after)) => compare(&before, &after).changed,
                            _ => Vec::new(),
                        };
                        open.push_back((made_before, made_after, changed.clone()));
                        Cause::Step { before: past_before, after: past_after, changed }
                    }
                }
                (None, None) if shown(&input_before) == shown(&input_after) => Cause::Content,
                _ => Cause::Bound { before: shown(&input_before), after: shown(&input_after) },
            };
            links.push(Link {
                reader: after.step.step.clone(),
                argument: argument.clone(),
                shown: shown(&input_after).or_else(|| shown(&input_before)).unwrap_or_default(),
                before: pair.0,
                after: pair.1,
                cause,
            });
        }
    }
    Ok(links)
}

fn maker(memory: &mut Memory<'_>, reader: &Past, input: &Option<InputRecord>) -> Result<Option<Past>, StoreError> {
    match input {
        Some(input) => memory.maker(reader, input),
        None => Ok(None),
    }
}

fn shown(input: &Option<InputRecord>) -> Option<String> {
    input.as_ref().map(|input| input.shown.clone())
}

fn attempt(memory: &mut Memory<'_>, past: &Past) -> Result<Attempt, StoreError> {
    let how = if past.is_reused() {
        HowItCame::Reused { from_run: past.executed_in.clone(), from_step: memory.executed_as(past)? }
    } else {
        HowItCame::Executed { attempt: past.result.attempt, seconds: past.result.seconds }
    };
    Ok(Attempt {
        step: past.step.clone(),
        run: past.run.clone(),
        at: past.at,
        op: past.result.op.clone(),
        key: past.result.key,
        how,
    })
}

fn failed_before(history: &[Stored], latest: &Past) -> Vec<FailedAttempt> {
    let of_run = history.iter().rev().take_while(|stored| stored.seq <= latest.seq);
    let failed = of_run.filter_map(|stored| failed_attempt(&stored.record));
    failed.filter(|failed| failed.run == latest.executed_in).collect()
}

fn failed_attempt(record: &Record) -> Option<FailedAttempt> {
    match record {
        Record::StepFailed { run, attempt, error, at, .. } => {
            Some(FailedAttempt { run: run.clone(), at: *at, attempt: *attempt, error: error.clone() })
        }
        _ => None,
    }
}

fn failed_since(history: &[Stored], latest: u64) -> Option<FailedAttempt> {
    history.iter().take_while(|stored| stored.seq > latest).find_map(|stored| failed_attempt(&stored.record))
}
