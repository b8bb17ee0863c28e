//! Listens to a run and puts together what the next one would say if nothing changed.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::ops::Range;
use std::path::PathBuf;

use mlp_engine::Engine;
use mlp_engine::graph::Graph;
use mlp_model::{Decision, Event, GateCounts, Input, NodeKind, OutputRecord, Pipeline, PlannedStep, RunId, RunStatus};
use mlp_store::snapshot::{Seen, digest_of, look};
use mlp_store::{Basis, Client, Position, SystemClock};

use super::{Head, Question};
use crate::compile::Compiled;
use crate::output::Output;
use crate::report::{PlainReporter, Reporter};
use crate::settings::SETTINGS_FILE;

/// An answer in the making.
pub struct Draft {
    question: Question,
    /// What was seen before anything was used.
    paths: Vec<(PathBuf, Seen)>,
    variables: Vec<String>,
    began_at: Position,
    n_committed: u64,
    /// Something happened that the next run may see differently: no answer is kept.
    is_void: bool,
    run: Option<RunId>,
    head: Head,
    planned: Vec<PlannedStep>,
    told: Told,
    /// Effects that are done.
    effects: HashSet<String>,
    n_executed: usize,
    has_released: bool,
}

/// The settings as they are before anybody reads them.
pub struct Beginning {
    question: Question,
    settings: Option<(PathBuf, Seen)>,
}

impl Beginning {
    /// To be called before anything is read; `None`, if the question is of a kind whose answer is not kept.
    pub fn look() -> Option<Self> {
        let question = Question::of(std::env::args_os().skip(1))?;
        let path = question.root.join(SETTINGS_FILE);
        let settings = look(&path, &SystemClock).map(|seen| (path, seen));
        Some(Self { question, settings })
    }
}

/// What has been told, in both forms.
#[derive(Default)]
struct Told {
    plain: Vec<u8>,
    events: Vec<u8>,
    pieces: Vec<Piece>,
}

/// One event's share of both texts.
struct Piece {
    /// Empty for what is no step.
    step: String,
    from_run: Option<RunId>,
    plain: Range<usize>,
    events: Range<usize>,
}

impl Draft {
    /// Begins before the run does. `None`: its answer cannot be kept.
    pub fn begin(beginning: Option<Beginning>, compiled: &Compiled, engine: &Engine, store: &Client) -> Option<Self> {
        let Beginning { question, settings } = beginning?;
        let mut paths = vec![settings?];
        paths.extend(compiled.looked_at.clone()?);
        let watched = engine.watched(&compiled.pipeline)?;
        for path in watched.paths {
            let seen = look(&path, &SystemClock)?;
            paths.push((path, seen));
        }
        look_at_folders(&compiled.pipeline, &mut paths)?;
        let began_at = store.position().ok()?;
        Some(Self {
            question,
            paths,
            variables: watched.variables.into_iter().collect(),
            began_at,
            n_committed: store.n_committed(),
            is_void: false,
            run: None,
            head: Head {
                pipeline: compiled.pipeline.name.clone(),
                file: compiled.shown.clone(),
                n_steps: 0,
                n_reused: 0,
                gates: GateCounts::default(),
                kept: Vec::new(),
                last_change: None,
                warned_in: (false, 0),
            },
            planned: Vec::new(),
            told: Told::default(),
            effects: HashSet::new(),
            n_executed: 0,
            has_released: false,
        })
    }

    pub fn event(&mut self, event: &Event) {
        if self.is_void {
            return;
        }
        let nobody = || RunId(String::new());
        match event {
            Event::RunStarted { run, n_steps, .. } => {
                self.run = Some(run.clone());
                self.head.n_steps = *n_steps;
            }
            Event::Planned { steps, .. } => self.planned = steps.clone(),
            // What a plan says of it then has a date, which this run does not know.
            Event::StepFinished { idempotency_key: Some(_), .. } => self.is_void = true,
            Event::StepWaits { .. }
            | Event::StepStarted { .. }
            | Event::StepProgressed { .. }
            | Event::StepPrinted { .. } => {}
            Event::StepFailed { will_retry: true, .. } | Event::CutOff { .. } => {}
            Event::StepFinished { run, step, outputs, facts, .. } => {
                self.n_executed += 1;
                self.reused(step, run, outputs, facts, None);
            }
            Event::StepReused { from_run, step, outputs, facts, idempotency_key, .. } => {
                self.reused(step, from_run, outputs, facts, idempotency_key.as_ref());
            }
            Event::GatePassed { gate, checks, .. } => {
                self.head.gates.passed += 1;
                self.told.tell(
                    "",
                    None,
                    &Event::GatePassed { run: nobody(), gate: gate.clone(), checks: checks.clone() },
                );
            }
            Event::Released { release, version, .. } => {
                self.has_released = true;
                self.kept(release, *version);
            }
            Event::ReleaseKept { release, version, .. } => self.kept(release, *version),
            Event::RunFinished { status: RunStatus::Succeeded, steps, .. } if steps.failed + steps.skipped == 0 => {}
            _ => self.is_void = true,
        }
    }

    fn reused(
        &mut self,
        step: &str,
        from_run: &RunId,
        outputs: &[OutputRecord],
        facts: &BTreeMap<String, f64>,
        idempotency_key: Option<&String>,
    ) {
        self.effects.extend(idempotency_key.map(|_| step.to_owned()));
        self.head.n_reused += 1;
        let event = Event::StepReused {
            run: RunId(String::new()),
            step: step.to_owned(),
            from_run: from_run.clone(),
            outputs: outputs.to_vec(),
            facts: facts.clone(),
            early_cutoff: false,
            idempotency_key: idempotency_key.cloned(),
        };
        self.told.tell(step, Some(from_run.clone()), &event);
    }

    fn kept(&mut self, release: &str, version: u64) {
        self.head.kept.push((release.to_owned(), version));
        self.told.tell(
            "",
            None,
            &Event::ReleaseKept { run: RunId(String::new()), release: release.to_owned(), version },
        );
    }

    /// Keeps the answer, unless the run was none that the next one would only repeat.
    pub fn keep(mut self, compiled: &Compiled, store: &Client, output: &Output) {
        // A failure to keep an answer is none of the user's business: the next run finds it again.
        _ = self.try_keep(compiled, store, output);
    }

    fn try_keep(&mut self, compiled: &Compiled, store: &Client, output: &Output) -> Option<()> {
        let pipeline = &compiled.pipeline;
        // A new champion would be compared with the next time.
        // Of an effect that is done, a plan says when; this one may not have known yet.
        self.is_void |= self.n_executed > 0 && !self.effects.is_empty();
        let is_void = self.is_void || self.run.is_none() || self.has_released && reads_champion(pipeline);
        (!is_void).then_some(())?;
        let position = store.position().ok()?;
        // What others have written meanwhile, the run may have seen or not.
        let n_own = store.n_committed() - self.n_committed;
        (position.n_records() == self.began_at.n_records() + n_own).then_some(())?;
        let seen = store.everything_seen()?;
        let paths = merged(std::mem::take(&mut self.paths), seen);
        if self.n_executed > 0 {
            self.told.put_in_order(pipeline);
        }
        self.head.last_change = self.told.pieces.iter().rev().find_map(|piece| piece.from_run.clone());
        self.head.warned_in = (output.colour, output.width());
        let (plain, events) = self.texts();
        let variables = std::mem::take(&mut self.variables).into_iter().map(|name| {
            let value = std::env::var_os(&name).map(|value| digest_of(&value));
            (name, value)
        });
        let basis = Basis { request: self.question.request.clone(), variables: variables.collect(), paths, position };
        let head = serde_json::to_vec(&self.head).ok()?;
        let answer: [&[u8]; 4] = [&head, compiled.warnings.as_bytes(), &plain, &events];
        store.keep_answer(&self.question.name, basis, &answer).ok().map(|_| ())
    }

    /// Returns the plain text and the events: first the plan, then the steps, then gates and releases.
    fn texts(&mut self) -> (Vec<u8>, Vec<u8>) {
        let from: HashMap<&str, &RunId> =
            self.told.pieces.iter().filter_map(|piece| Some((piece.step.as_str(), piece.from_run.as_ref()?))).collect();
        let planned = std::mem::take(&mut self.planned).into_iter().map(|step| match from.get(step.step.as_str()) {
            // The plan has said when it was done.
            Some(_) if self.effects.contains(&step.step) => step,
            // In the words of a plan.
            Some(run) => PlannedStep {
                decision: Decision::Reuse { from_run: run.to_string() },
                reason: format!("same key as in run {run}"),
                seconds: None,
                mem_bytes: None,
                ..step
            },
            None => step,
        });
        let mut all = Told::default();
        all.tell("", None, &Event::Planned { run: RunId(String::new()), steps: planned.collect() });
        let told = &self.told;
        for piece in &told.pieces {
            all.plain.extend_from_slice(&told.plain[piece.plain.clone()]);
            all.events.extend_from_slice(&told.events[piece.events.clone()]);
        }
        (all.plain, all.events)
    }
}

impl Told {
    fn tell(&mut self, step: &str, from_run: Option<RunId>, event: &Event) {
        let (plain_start, events_start) = (self.plain.len(), self.events.len());
        PlainReporter::new(&mut self.plain, true).event(event);
        if serde_json::to_writer(&mut self.events, event).is_ok() {
            self.events.push(b'\n');
        }
        let (plain, events) = (plain_start..self.plain.len(), events_start..self.events.len());
        self.pieces.push(Piece { step: step.to_owned(), from_run, plain, events });
    }

    /// Puts steps into the order in which a run tells of them that executes none: each as soon as all it needs has been
    /// told. What is no step follows.
    fn put_in_order(&mut self, pipeline: &Pipeline) {
        let Ok(graph) = Graph::new(pipeline) else { return };
        let mut by_name: HashMap<String, Piece> = HashMap::new();
        let mut others = Vec::new();
        for piece in std::mem::take(&mut self.pieces) {
            match piece.step.is_empty() {
                true => others.push(piece),
                false => _ = by_name.insert(piece.step.clone(), piece),
            }
        }
        let n_nodes = pipeline.nodes.len();
        let is_told: Vec<bool> = pipeline.nodes.iter().map(|node| by_name.contains_key(&node.name)).collect();
        let mut dependents = vec![Vec::new(); n_nodes];
        let mut n_missing = vec![0; n_nodes];
        for node in (0..n_nodes).filter(|node| is_told[*node]) {
            for input in graph.inputs(node) {
                dependents[input].push(node);
                n_missing[node] += 1;
            }
        }
        let mut next: VecDeque<usize> = (0..n_nodes).filter(|node| is_told[*node] && n_missing[*node] == 0).collect();
        while let Some(node) = next.pop_front() {
            self.pieces.extend(by_name.remove(&pipeline.nodes[node].name));
            for &dependent in &dependents[node] {
                n_missing[dependent] -= 1;
                if n_missing[dependent] == 0 {
                    next.push_back(dependent);
                }
            }
        }
        self.pieces.append(&mut others);
    }
}

/// Looks at every folder in a folder that the pipeline reads: a new file shows there.
fn look_at_folders(pipeline: &Pipeline, paths: &mut Vec<(PathBuf, Seen)>) -> Option<()> {
    let calls = pipeline.nodes.iter().filter_map(|node| match &node.kind {
        NodeKind::Call(call) => Some(call),
        NodeKind::Gate(_) | NodeKind::Release(_) => None,
    });
    for input in calls.flat_map(|call| call.inputs.values()) {
        let Input::Path { path, folder: true, .. } = input else { continue };
        let mut open = vec![std::path::absolute(path).ok()?];
        while let Some(folder) = open.pop() {
            let seen = look(&folder, &SystemClock)?;
            for entry in std::fs::read_dir(&folder).ok()? {
                let entry = entry.ok()?;
                if entry.file_type().ok()?.is_dir() {
                    open.push(entry.path());
                }
            }
            paths.push((folder, seen));
        }
    }
    Some(())
}

/// Whether a step reads what the pipeline's release has live.
fn reads_champion(pipeline: &Pipeline) -> bool {
    pipeline.nodes.iter().any(|node| match &node.kind {
        NodeKind::Call(call) => call.inputs.values().any(|input| matches!(input, Input::Champion { .. })),
        NodeKind::Gate(_) | NodeKind::Release(_) => false,
    })
}

/// Joins what was seen at first and during the run. Where only the kind of a path mattered first, its bytes say more.
fn merged(first: Vec<(PathBuf, Seen)>, during: Vec<(PathBuf, Seen)>) -> Vec<(PathBuf, Seen)> {
    let known: HashSet<&OsStr> = during.iter().map(|(path, _)| path.as_os_str()).collect();
    let is_covered = |path: &PathBuf, seen: &Seen| matches!(seen, Seen::Kind(_)) && known.contains(path.as_os_str());
    let mut paths: Vec<_> = first.into_iter().filter(|(path, seen)| !is_covered(path, seen)).collect();
    paths.extend(during);
    paths
}
