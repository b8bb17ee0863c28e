//! Reads what the store remembers of steps: the result behind a record, the key behind a result, and which attempt
//! made what another one read.

use std::collections::HashMap;
use std::rc::Rc;

use mlp_model::{CacheKey, InputRecord, Record, RunId, StepId, StepResult, Store, StoreError, Stored, Timestamp};

/// A record of a step that has a result, whether it was executed then or reused.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    pub seq: u64,
    /// The run that the record belongs to.
    pub run: RunId,
    pub step: StepId,
    pub at: Timestamp,
    /// The run that executed it: the same, if it was not reused.
    pub executed_in: RunId,
    pub result: StepResult,
}

impl Past {
    pub(crate) fn is_reused(&self) -> bool {
        self.executed_in != self.run
    }
}

/// Returns the result that a record tells of; `None` for a failure, or when the result is gone.
pub(crate) fn past(store: &dyn Store, stored: &Stored) -> Result<Option<Past>, StoreError> {
    let seq = stored.seq;
    Ok(match &stored.record {
        Record::StepFinished { run, step, result } => Some(Past {
            seq,
            run: run.clone(),
            step: step.clone(),
            at: result.at,
            executed_in: run.clone(),
            result: result.clone(),
        }),
        Record::StepReused { run, step, key, at } => {
            store.result_reused(key, run, seq)?.map(|(executed_in, result)| Past {
                seq,
                run: run.clone(),
                step: step.clone(),
                at: *at,
                executed_in,
                result,
            })
        }
        _ => None,
    })
}

/// Reads the fields of the key under which a result is stored.
pub(crate) fn read_key(store: &dyn Store, result: &StepResult) -> Result<Option<CacheKey>, StoreError> {
    let bytes = store.read(&result.key_object)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Answers questions about several runs, reading each run's records once.
pub(crate) struct Memory<'a> {
    pub store: &'a dyn Store,
    runs: HashMap<RunId, Rc<HashMap<String, Stored>>>,
}

impl<'a> Memory<'a> {
    pub(crate) fn new(store: &'a dyn Store) -> Self {
        Self { store, runs: HashMap::new() }
    }

    /// Returns the attempt that made an input of `reader`; `None` if the input came from outside or from a release.
    ///
    /// A record calls an input by the names of the run that executed the step, and that run has a record of the step
    /// it came from: executed or reused, under the name that the input tells.
    pub(crate) fn maker(&mut self, reader: &Past, input: &InputRecord) -> Result<Option<Past>, StoreError> {
        let Some((node, output)) = input.shown.rsplit_once('.') else { return Ok(None) };
        let records = self.records_of(&reader.executed_in)?;
        let Some(stored) = records.get(node) else { return Ok(None) };
        let Some(found) = past(self.store, stored)? else { return Ok(None) };
        let is_maker =
            |made: &Past| made.result.outputs.iter().any(|made| made.name == output && made.digest == input.digest);
        if is_maker(&found) {
            return Ok(Some(found));
        }
        // The key has been executed again since, with another outcome.
        for stored in self.store.producers(&input.digest)? {
            let is_it = |made: &Past| made.result.key == found.result.key && is_maker(made);
            if let Some(made) = past(self.store, &stored)?.filter(is_it) {
                return Ok(Some(made));
            }
        }
        Ok(None)
    }

    /// Returns the step under whose name a key was executed in a run.
    pub(crate) fn executed_as(&mut self, past: &Past) -> Result<Option<StepId>, StoreError> {
        let records = self.records_of(&past.executed_in)?;
        Ok(records.values().find_map(|stored| match &stored.record {
            Record::StepFinished { step, result, .. } if result.key == past.result.key => Some(step.clone()),
            _ => None,
        }))
    }

    /// Returns the newest record with a result of each step of a run.
    fn records_of(&mut self, run: &RunId) -> Result<Rc<HashMap<String, Stored>>, StoreError> {
        if let Some(known) = self.runs.get(run) {
            return Ok(Rc::clone(known));
        }
        let mut by_step = HashMap::new();
        for stored in self.store.run_records(run)? {
            if let Record::StepFinished { step, .. } | Record::StepReused { step, .. } = &stored.record {
                by_step.insert(step.step.clone(), stored);
            }
        }
        let by_step = Rc::new(by_step);
        self.runs.insert(run.clone(), Rc::clone(&by_step));
        Ok(by_step)
    }
}
