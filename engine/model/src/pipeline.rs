//! A checked pipeline: what the compiler gives to the engine. Every name is resolved, every type is known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::{Demand, Named, Type, Value, Waits, Word};

/// A checked `.mlp` file.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    pub name: String,
    pub doc: String,
    /// The pipeline's own parameters, by name.
    pub params: BTreeMap<String, ParamValue>,
    /// In the order of declaration; implicit steps stand right before the node that needs them. Inputs refer to nodes
    /// by index. Free of cycles.
    pub nodes: Vec<Node>,
    /// What spans refer to.
    pub sources: Vec<SourceText>,
}

impl Pipeline {
    pub fn node(&self, name: &str) -> Option<(usize, &Node)> {
        self.nodes.iter().enumerate().find(|(_, node)| node.name == name)
    }

    /// Returns the loops whose values are not known yet, each once.
    pub fn open_loops(&self) -> Vec<&Waits> {
        let mut open: Vec<&Waits> = Vec::new();
        for waits in self.nodes.iter().filter_map(Node::waits) {
            // Nodes of a loop stand together, but for those of loops around it.
            if open.iter().rev().all(|known| known.name != waits.name) {
                open.push(waits);
            }
        }
        open
    }
}

/// A file's path as the user gave it, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    pub path: PathBuf,
    pub text: String,
}

/// Bytes `start..end` of a pipeline's source text number `source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

/// A parameter's value and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamValue {
    pub value: Value,
    /// `default`, `--param`, `environment` or `profile`.
    pub origin: &'static str,
    /// The parameter's name in the source.
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Unique in the pipeline. An implicit step has a dotted name: `quality.predictions`.
    pub name: String,
    pub doc: String,
    /// The declaration's name in the source.
    pub span: Span,
    pub kind: NodeKind,
}

impl Node {
    /// Returns whether the run goes on without the node if it fails.
    pub fn may_fail(&self) -> bool {
        matches!(&self.kind, NodeKind::Call(call) if call.options.on_failure == OnFailure::Skip)
    }

    /// Returns the node's rounds of loops that may lose some, from the inside out.
    pub fn rounds(&self) -> &[Round] {
        match &self.kind {
            NodeKind::Call(call) => &call.options.rounds,
            NodeKind::Gate(_) | NodeKind::Release(_) => &[],
        }
    }

    /// Returns the loop whose values this node waits for.
    pub fn waits(&self) -> Option<&Waits> {
        match &self.kind {
            NodeKind::Call(call) => call.options.waits.as_deref(),
            NodeKind::Gate(_) | NodeKind::Release(_) => None,
        }
    }
}

/// Sources, steps, gates and releases cache differently, so they are different kinds.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// In a box, for it is moved about while a pipeline is checked.
    Call(Box<Call>),
    Gate(Gate),
    Release(Release),
}

/// Which word declared a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallClass {
    /// Reads the outside world.
    Source,
    /// Pure.
    Step,
    /// Writes outside. Has no outputs, and is done once for its key.
    Effect,
}

/// A call of a catalogue operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub class: CallClass,
    pub op: Word,
    pub op_version: u32,
    pub runner: Word,
    pub params: Named<Value>,
    /// By argument name; members of a record argument as `ARGUMENT.NAME`.
    pub inputs: Named<Input>,
    pub outputs: Vec<Output>,
    pub options: Options,
    /// Where each argument is written, and each option under `with.OPTION`; for a default, absent.
    pub arg_spans: Named<Span>,
}

impl Call {
    pub fn output(&self, name: &str) -> Option<&Output> {
        self.outputs.iter().find(|output| output.name == name)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    pub name: Word,
    pub ty: Type,
    /// The step may leave it out; what needs it is then skipped.
    pub optional: bool,
}

impl Output {
    /// Makes outputs of their names and types, and of the names of those that may be left out.
    pub fn all_of(outputs: Vec<(Word, Type)>, optional: &BTreeSet<String>) -> Vec<Self> {
        let output = |(name, ty): (Word, Type)| Self { optional: optional.contains(name.as_ref()), name, ty };
        outputs.into_iter().map(output).collect()
    }
}

/// Where an input artifact comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Output `output` of node `node`.
    Output { node: usize, output: Word },
    /// A file or folder beside the pipeline. `shown` is the path as written; `path` is where it is. The key has the
    /// content's digest, never the path.
    Path { path: PathBuf, shown: String, folder: bool },
    /// The part of the bundle that release `release` has live when the run starts. Absent before the first release:
    /// the node, and what reads it, is then skipped as having no champion.
    Champion { release: String, part: String },
}

/// `with { .. }`: how to run a step. No part of the key.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    pub timeout: Option<Duration>,
    /// Further attempts after a failed one.
    pub retries: u32,
    /// Why it does not run, nor what needs it: `when epochs > 5 is false`.
    pub skip: Option<String>,
    pub on_failure: OnFailure,
    /// How long the first further attempt waits; each one after it twice as long. `None`: not at all.
    pub backoff: Option<Duration>,
    pub demand: Demand,
    /// What its outputs belong to, in a store that encrypts, beside what its inputs do.
    pub partition: Option<Box<str>>,
    /// Of an effect: nodes of gates that must all pass before it is done.
    pub gates: Vec<usize>,
    /// Loops that it is in and that run only some of their steps at once.
    pub limits: Vec<LoopLimit>,
    /// Its rounds of loops that may lose some, from the inside out.
    pub rounds: Vec<Round>,
    /// Inputs that are left out where their round has failed: members of a list that a loop gives, and that the call does not
    /// name one by one.
    pub collects: BTreeSet<String>,
    /// Stands for nodes that are known only once a run has told the values of a loop. Is never run itself.
    pub waits: Option<Box<Waits>>,
}

/// What the failure of a step means to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The run fails.
    #[default]
    Stop,
    /// What needs the step is skipped, and the run goes on.
    Skip,
}

/// `limit N` of a loop: at most so many of its steps run at once, whatever round they are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopLimit {
    /// The loop as it is written, the same in all rounds of loops around it: `by_region.by_plan`.
    pub name: String,
    pub most: u32,
}

/// A round of a loop with `tolerate N`: so many of its rounds may fail, and what collects over it goes on without them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Round {
    /// The loop, with the rounds that it is in: `by_region[north].network`.
    pub of: String,
    /// The round as it stands in the names of its nodes: `117`.
    pub key: String,
    pub tolerated: u32,
}

/// Named checks over metrics. Evaluated in every run.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    pub checks: Vec<Check>,
    /// Must be said when a check reads a report about the champion.
    pub first: Option<FirstRelease>,
}

/// What a gate does when there is no champion yet.
#[derive(Debug, Clone, PartialEq)]
pub enum FirstRelease {
    /// Only the named checks decide.
    Only(Vec<String>),
    Refuse,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    pub name: String,
    pub left: NumExpr,
    pub comparison: Comparison,
    pub right: NumExpr,
    /// As written: `quality.auc >= 0.80`.
    pub text: String,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// An arithmetic expression over metrics. A metric that is absent or not a finite number makes the check unmeasurable.
#[derive(Debug, Clone, PartialEq)]
pub enum NumExpr {
    Number(f64),
    Metric {
        node: usize,
        metric: String,
    },
    Negate(Box<NumExpr>),
    Add(Box<NumExpr>, Box<NumExpr>),
    Subtract(Box<NumExpr>, Box<NumExpr>),
    Multiply(Box<NumExpr>, Box<NumExpr>),
    Divide(Box<NumExpr>, Box<NumExpr>),
    /// One number of many, such as the metrics of all rounds of a loop.
    Fold {
        fold: Fold,
        of: Vec<NumExpr>,
    },
}

/// How many numbers become one. What is not measurable makes all of it so, except that it is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    Min,
    Max,
    Mean,
    Sum,
    Count,
}

/// `release NAME = bundle { .. } when gate and gate`.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    pub name: String,
    pub parts: BTreeMap<String, Part>,
    /// Nodes of the gates that must all pass.
    pub gates: Vec<usize>,
}

/// One part of a released decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// An artifact.
    Output {
        node: usize,
        output: String,
    },
    /// The call itself: operation, parameters and the digests of its code, so that it can be done again when serving.
    Transform {
        node: usize,
    },
    Value(Value),
}
