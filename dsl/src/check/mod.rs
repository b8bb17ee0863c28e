//! From the syntax tree to a checked pipeline: names, types and the safety of learning.
//!
//! The phases run over all files, each collecting every mistake: modules, names, values, schemas, the expansion of
//! `def`s, the binding of arguments, the order of steps, then each call in that order, gates and releases. Something
//! that is wrong is `None` from there on, and what depends on it is passed over in silence.

mod arguments;
mod bind;
mod call;
mod calls;
mod champion;
mod collect;
mod columns;
mod constants;
mod defs;
mod expand;
mod expected;
mod facts;
mod files;
mod filler;
mod functions;
mod gates;
mod given;
mod grid;
mod infer;
mod inline;
mod inputs;
mod inspector;
mod lists;
mod load;
mod memo;
mod names;
mod options;
mod order;
mod params;
mod releases;
mod report;
mod roles;
mod rounds;
mod schemas;
mod testing;
mod types;
mod value;
mod zip;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::Ordering;

use mlp_model::{
    Call, CallClass, Catalogue, Input, KnownValues, Named, Node, NodeKind, Options, Pipeline, Signature, SourceText,
    Span, Value, Waits, Word,
};

pub(crate) use calls::EFFECT;
pub use expected::compares;
pub use facts::{Facts, NodeFacts};
pub use inspector::{Inspector, inspect_many};
pub use names::RESERVED;
pub(crate) use options::OPTIONS;
pub use rounds::without_keys;
pub use schemas::MARKS;
pub use testing::{CheckedTests, Expectation, Expected, TestCase, check_test, check_tests, declares_tests};
pub use types::{TYPE_NAMES, written};
pub use value::show;

use crate::assign::Assignments;
use crate::ast::{Expr, Name};
use crate::diagnostic::{Diagnostic, Severity};
use crate::outline;
use crate::parse;
use crate::shelf::Shelf;
use crate::world::{World, WorldError};
use calls::CallResult;
use columns::{LoopValues, Samples};
use inputs::Inputs;
use load::Unit;
use memo::Memo;
use names::{CallInst, Entity, Entry, Followed, Item, Names};
use report::{Findings, Report};
use value::Eval;

/// What a check looks at.
pub struct CheckInput<'a> {
    /// The pipeline file, as the user named it.
    pub file: &'a Path,
    /// What is given to parameters from outside.
    pub params: &'a Assignments,
    pub catalogue: &'a Catalogue,
    pub world: &'a dyn World,
}

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// `None` if and only if there are errors.
    pub pipeline: Option<Pipeline>,
    /// Ordered by position.
    pub diagnostics: Vec<Diagnostic>,
    /// What spans refer to.
    pub sources: Vec<SourceText>,
}

/// Checks a pipeline file as a whole and reports every mistake in it.
pub fn check(input: &CheckInput<'_>) -> Checked {
    check_known(input, &KnownValues::new())
}

/// As [`check`], with the values of loops that a run has told: those loops become nodes like any other.
pub fn check_known(input: &CheckInput<'_>, known: &KnownValues) -> Checked {
    check_file(input, known, None)
}

/// Whether a word belongs to the language, so that no declaration can have it as its name.
pub fn is_reserved(word: &str) -> bool {
    names::RESERVED.contains(&word)
}

/// Checks a file for an editor: what is known of its right parts goes into `facts`, and no pipeline is made.
pub fn inspect(input: &CheckInput<'_>, facts: &mut Facts) -> Checked {
    check_file(input, &KnownValues::new(), Some(facts))
}

fn check_file(input: &CheckInput<'_>, known: &KnownValues, facts: Option<&mut Facts>) -> Checked {
    let text = match read(input) {
        Ok(text) => text,
        Err(unreadable) => return *unreadable,
    };
    let mut diagnostics = Vec::new();
    let outline = outline::cut(PIPELINE, &text, &mut diagnostics);
    let tree = parse::parse_file(PIPELINE, &outline, &mut diagnostics);
    check_parsed(input, Unit::root(input, &text, &outline, &tree), known, (facts, None), diagnostics)
}

/// Checks a file that is parsed, and whatever it uses.
fn check_parsed(
    input: &CheckInput<'_>,
    root: Unit<'_>,
    known: &KnownValues,
    (facts, memo): (Option<&mut Facts>, Option<&mut Memo>),
    mut diagnostics: Vec<Diagnostic>,
) -> Checked {
    let (texts, outlines, trees) = (Shelf::default(), Shelf::default(), Shelf::default());
    let units = load::load(input, root, &texts, &outlines, &trees, &mut diagnostics);
    let wanted = Wanted { facts, expectations: None, memo };
    let (pipeline, mut diagnostics) = check_units(input, &units, known, wanted, diagnostics);
    // The values of loops are of the pipeline's tables: tests have others, and were checked before there were any.
    if known.is_empty() {
        testing::check_all(input, &units, &mut diagnostics);
    }
    let mut sources = load::sources(&units);
    put_in_order(&mut diagnostics);
    let pipeline = pipeline.filter(|_| !has_errors(&diagnostics));
    let pipeline = pipeline.map(|pipeline| Pipeline { sources: sources.clone(), ..pipeline });
    sources.extend(input.params.settings.clone());
    Checked { pipeline, diagnostics, sources }
}

fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// Sorts what is found by its place, and tells each thing once.
fn put_in_order(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort_by_key(|diagnostic| {
        let place = diagnostic.primary().map(|label| (label.span.source, label.span.start));
        (place.is_some(), place, diagnostic.severity)
    });
    let mut told = HashSet::new();
    diagnostics.retain(|d| told.insert((d.primary().map(|label| label.span), d.code.clone(), d.message.clone())));
}

/// Reads the pipeline's own file, or says why that cannot be.
fn read(input: &CheckInput<'_>) -> Result<String, Box<Checked>> {
    input.world.read(input.file).map_err(|error| {
        Box::new(Checked { pipeline: None, diagnostics: vec![unreadable(input, &error)], sources: Vec::new() })
    })
}

fn unreadable(input: &CheckInput<'_>, error: &WorldError) -> Diagnostic {
    let file = input.file.display();
    match error {
        WorldError::NotFound => Diagnostic::error("E0101", format!("cannot read `{file}`: file not found")),
        WorldError::Other(reason) => Diagnostic::error("E0101", format!("cannot read `{file}`: {reason}")),
        WorldError::NotUtf8 { offset } => {
            let line = input.world.line_of(input.file, *offset);
            let place = line.map_or(String::new(), |line| format!(", on line {line},"));
            Diagnostic::error("E0102", format!("`{file}` is not UTF-8 text: byte {offset}{place} begins no character"))
                .help("save the file as UTF-8")
        }
    }
}

/// What a check is asked for besides a pipeline.
#[derive(Default)]
struct Wanted<'w> {
    /// Then no pipeline is made.
    facts: Option<&'w mut Facts>,
    expectations: Option<&'w mut Vec<Expectation>>,
    /// What is remembered of the check before.
    memo: Option<&'w mut Memo>,
}

fn check_units<'a>(
    input: &CheckInput<'a>,
    units: &'a [Unit<'a>],
    known: &'a KnownValues,
    mut wanted: Wanted<'_>,
    diagnostics: Vec<Diagnostic>,
) -> (Option<Pipeline>, Vec<Diagnostic>) {
    let Some(root) = units.first() else { return (None, diagnostics) };
    if root.tree.decls.is_empty() && diagnostics.iter().all(|d| d.severity == Severity::Warning) {
        let problem = Diagnostic::error("E0111", format!("`{}` declares nothing", input.file.display()));
        let problem = problem.help("begin it with `pipeline NAME`");
        return (None, diagnostics.into_iter().chain([problem]).collect());
    }
    // The type of a column is known when its table has been checked; then the loops over it are checked with a value of it.
    let mut samples = Samples::new();
    // What is wrong while nothing is known of a value is wrong with every value.
    let mut certain = None;
    loop {
        let findings = Findings::new(diagnostics.clone());
        let mut learned = Samples::new();
        let loops = LoopValues { known, samples: &samples };
        let report = Report::new(&findings);
        let memo = wanted.memo.as_deref_mut().filter(|_| samples.is_empty());
        let (facts, expectations) = (wanted.facts.as_deref_mut(), wanted.expectations.as_deref_mut());
        let asked = Wanted { facts, expectations, memo };
        let pipeline = check_with(input, units, root, loops, asked, report, &mut learned);
        learned.retain(|name, _| !known.contains_key(name) && !samples.contains_key(name));
        let mut found = findings.into_diagnostics();
        if learned.is_empty() {
            found.extend(certain.into_iter().flatten());
            return (pipeline, found);
        }
        certain.get_or_insert(found);
        // What calls within open loops are checked with is not remembered.
        wanted.memo.iter_mut().for_each(|memo| memo.forget());
        samples.extend(learned);
    }
}

fn check_with<'a>(
    input: &CheckInput<'a>,
    units: &'a [Unit<'a>],
    root: &Unit<'a>,
    loops: LoopValues<'_>,
    wanted: Wanted<'_>,
    report: Report<'_>,
    learned: &mut Samples,
) -> Option<Pipeline> {
    let source = Sources { units };
    let (mut names, constants) = collect::collect(units, report);
    let entities = names.declare_calls(PIPELINE, &root.tree.decls, "", report, &None);
    let given = params::Given::new(input, source, names.pipeline.map_or("", |(name, _)| name.text));
    let params = constants::compute(&mut names, &constants, given, report);
    names.schemas = schemas::check_all(&names, report);
    let shapes = defs::check(&names, &|span| source.written(span), report);
    let (catalogue, world) = (input.catalogue, input.world);
    let around = expand::Around { source, world, loops };
    expand::expand_for_themselves(&mut names, &shapes, around, report);
    expand::expand(&mut names, &shapes, around, &root.tree.decls, entities);
    let scope = Scope { report, names: &names, env: PIPELINE, catalogue, world, source };
    let nodes = check_nodes(&scope, wanted, learned);
    for module in names.modules.iter().filter(|module| module.env.is_some() && !module.is_used.load(Ordering::Relaxed))
    {
        let message = format!("module `{}` is used nowhere", module.name.text);
        report.add(Diagnostic::warning("E0227", message).at(module.name.span, "").help("remove the `use`"));
    }
    names.pipeline.zip(nodes).map(|((name, doc), nodes)| {
        let docs: Vec<_> = [root.tree.doc, doc].into_iter().filter(|doc| !doc.is_empty()).collect();
        Pipeline { name: name.text.to_owned(), doc: docs.join("\n"), params, nodes, sources: Vec::new() }
    })
}

/// The name space, and the number, of the pipeline's file.
const PIPELINE: usize = 0;

/// Checks sources, steps, gates and releases. `None` when any of them is wrong, or when facts are asked for instead.
fn check_nodes(scope: &Scope<'_>, mut wanted: Wanted<'_>, learned: &mut Samples) -> Option<Vec<Node>> {
    let names = scope.names;
    let infos = calls::bind_all(scope);
    let champion = champion::Champion::find(scope);
    let order = order::sort_calls(scope, &infos, &champion);
    // Places in the checked pipeline are known before any call is checked: an implicit step stands before its node.
    let mut places = Places { calls: vec![0; names.calls.len()], gates: vec![0; names.gates.len()] };
    let mut n_nodes = 0;
    for item in &names.items {
        if let Item::Call(call) = item
            && infos[*call].scores()
        {
            n_nodes += 1;
        }
        match item {
            Item::Call(call) => places.calls[*call] = n_nodes,
            Item::Gate(gate) => places.gates[*gate] = n_nodes,
            Item::Release(_) => {}
        }
        n_nodes += 1;
    }
    let mut recall = wanted.memo.as_mut().map(|memo| memo.begin(scope.source.units, names));
    let mut results = calls::check_all(scope, &infos, &champion, &order, &places, recall.as_mut());
    let inputs = Inputs { scope: *scope, champion: &champion, results: &results, places: &places, decl: None, op: "" };
    given::check_bounds(&inputs);
    given::check_results(&inputs);
    let (waits, samples) = columns::check_all(&inputs);
    learned.extend(samples);
    let gates: Vec<_> = names.gates.iter().map(|(gate, _)| gates::check(scope, gate, &results, &places)).collect();
    let releases = names.releases.iter().map(|(release, _)| releases::check(scope, release, &results, &places));
    let releases: Vec<_> = releases.collect();
    if let Some(expectations) = wanted.expectations {
        expectations.clear();
        names.tests.givens.iter().for_each(|given| expected::check_given(&inputs, given));
        expectations.extend(names.tests.expects.iter().filter_map(|expect| expected::check(&inputs, expect)));
        let of_figures = names.gates.iter().filter(|(gate, _)| gate.name.text.starts_with(testing::GATE));
        expectations.extend(of_figures.map(|(gate, _)| expected::of_gate(gate, &inputs)));
        expectations.sort_by_key(|expectation| expectation.span.start);
    }
    if let Some(facts) = wanted.facts {
        let bodies = facts::Bodies::look(scope, &results);
        let known = match wanted.memo.zip(recall) {
            Some((memo, recall)) => memo.end(recall, results, |result| NodeFacts::of(scope, result)),
            None => {
                let known =
                    results.iter().map(|result| result.as_ref().map(|result| NodeFacts::of(scope, result).into()));
                known.collect()
            }
        };
        facts.collect(scope, known, bodies);
        return None;
    }

    // Without a mistake something is unknown only because it depends on the very value of an open loop.
    let any_waits = || waits.values().next().filter(|_| !scope.report.has_errors());
    let mut nodes = Vec::with_capacity(n_nodes);
    let lossy: HashMap<usize, &CallInst<'_>> =
        places.calls.iter().copied().zip(&names.calls).filter(|(_, inst)| !inst.lossy.is_empty()).collect();
    let (mut gates, mut releases) = (gates.into_iter(), releases.into_iter());
    for item in &names.items {
        let (name, span, doc, kind) = match item {
            Item::Call(call) => {
                let inst = &names.calls[*call];
                let mut result = match results[*call].take() {
                    Some(result) => result,
                    None => open_call(infos[*call].operation.map(|(_, signature)| signature), any_waits()?),
                };
                for call in result.predictions.iter_mut().chain([&mut result.call]) {
                    call.options.limits = inst.limits.to_vec();
                    call.options.rounds = inst.lossy.to_vec();
                }
                result.call.options.collects = collected(&result, &lossy, inst);
                if let Some(open) = names.open_around(inst.within) {
                    let waits = waits.get(&open)?;
                    let calls = result.predictions.iter_mut().chain([&mut result.call]);
                    calls.for_each(|call| call.options.waits = Some(Box::new(waits.clone())));
                }
                let span = inst.decl.name.span;
                if let Some(predictions) = result.predictions {
                    let name_of_it = format!("{}.predictions", inst.name);
                    let doc = String::new();
                    nodes.push(Node { name: name_of_it, doc, span, kind: NodeKind::Call(predictions) });
                }
                (inst.name.as_ref(), span, inst.doc, NodeKind::Call(result.call))
            }
            Item::Gate(gate) => {
                let (decl, doc) = names.gates[*gate];
                let kind = match gates.next()? {
                    Some(gate) => NodeKind::Gate(gate),
                    None => NodeKind::Call(open_call(None, any_waits()?).call),
                };
                (decl.name.text, decl.name.span, doc, kind)
            }
            Item::Release(release) => {
                let (decl, doc) = names.releases[*release];
                let kind = match releases.next()? {
                    Some(release) => NodeKind::Release(release),
                    None => NodeKind::Call(open_call(None, any_waits()?).call),
                };
                (decl.name.text, decl.name.span, doc, kind)
            }
        };
        nodes.push(Node { name: name.to_owned(), doc: doc.to_owned(), span, kind });
    }
    Some(nodes)
}

/// Returns the inputs that a call goes on without if their rounds fail: it is in none of those, so that they are items of a
/// list, and it does not name them.
fn collected(result: &CallResult, lossy: &HashMap<usize, &CallInst<'_>>, reader: &CallInst<'_>) -> BTreeSet<String> {
    let is_collected = |(name, input): &(&str, &Input)| {
        let Input::Output { node, .. } = input else { return false };
        let Some(made) = lossy.get(node) else { return false };
        made.lossy.iter().any(|round| !reader.lossy.contains(round)) && !result.named.contains(*name)
    };
    result.call.inputs.iter().filter(is_collected).map(|(name, _)| name.to_owned()).collect()
}

/// Returns what stands for a node of which nothing can be told before the values of a loop are known.
fn open_call(signature: Option<&Signature>, waits: &Waits) -> CallResult {
    let call = Call {
        class: signature.map_or(CallClass::Step, |signature| signature.class),
        op: signature.map_or(Word::Borrowed(""), |signature| signature.name.into()),
        op_version: signature.map_or(0, |signature| signature.version),
        runner: signature.map_or(Word::Borrowed(""), |signature| signature.runner.into()),
        params: Named::new(),
        inputs: Named::new(),
        outputs: Vec::new(),
        options: Options { waits: Some(Box::new(waits.clone())), ..Options::default() },
        arg_spans: Named::new(),
    };
    let (named, reads) = (BTreeSet::new(), Vec::new());
    CallResult { call: Box::new(call), predictions: None, reads_champion: false, schema: None, named, reads }
}

/// Where calls and gates stand in the checked pipeline, by their index among their kind.
pub(crate) struct Places {
    pub calls: Vec<usize>,
    pub gates: Vec<usize>,
}

/// What is known before the first call is checked, as the file or body sees it that is being checked.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub report: Report<'a>,
    pub names: &'a Names<'a>,
    /// The name space that names are looked up in.
    pub env: usize,
    pub catalogue: &'a Catalogue,
    pub world: &'a dyn World,
    pub source: Sources<'a>,
}

impl<'a> Scope<'a> {
    /// Returns the scope in which a call is written.
    pub fn of(&self, inst: &CallInst<'a>) -> Self {
        Self { env: inst.env, report: inst.report, ..*self }
    }

    pub fn eval(&self) -> Eval<'a, 'a> {
        Eval { report: self.report, names: self.names, env: Some(self.env) }
    }

    pub fn entry(&self, name: &str) -> Option<Entry> {
        self.names.get(self.env, name)
    }

    pub fn get(&self, name: &str) -> Option<Entity> {
        self.entry(name).map(|entry| entry.entity)
    }

    /// Returns the word that declared the name, such as `param`.
    pub fn word(&self, name: &str) -> &'static str {
        self.entry(name).map_or("name", |entry| entry.word)
    }

    pub fn follow<'p>(&self, path: &'p [Name<'a>]) -> Followed<'p, 'a> {
        self.names.follow(self.env, path)
    }

    /// Returns the schema that a path names, if it names one.
    pub fn schema_of(&self, path: &[Name<'a>]) -> Option<usize> {
        match self.follow(path) {
            Followed::Found { entity: Entity::Schema(schema), rest, .. } if rest.is_empty() => Some(schema),
            _ => None,
        }
    }

    pub fn is_in_def(&self) -> bool {
        self.names.is_in_def(self.env)
    }

    /// Says that a name is not known, or not seen from here.
    pub fn unknown(&self, name: Name<'_>) -> Diagnostic {
        if let Some(hidden) = self.names.hidden(self.env, name.text) {
            return value::not_seen(name, hidden.word);
        }
        let place = if self.is_in_def() { "def" } else { "file" };
        Diagnostic::error("E0202", format!("`{}` is not known", name.text))
            .at(name.span, format!("nothing in this {place} has this name"))
            .maybe_help(self.report.suggest(name.text, self.names.visible(self.env)))
    }
}

/// The texts that spans refer to.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    units: &'a [Unit<'a>],
}

impl<'a> Sources<'a> {
    /// Returns what is written there, on one line and without comments.
    pub fn written(&self, span: Span) -> String {
        let lines = self.slice(span).lines().map(|line| line.split_once("//").map_or(line, |(before, _)| before));
        lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    }

    /// Computes the condition of a call; returns why it does not run if that is false.
    pub fn skip_reason(&self, condition: &Expr<'_>, eval: &Eval<'_, '_>) -> Option<String> {
        match eval.value(condition)? {
            Value::Bool(true) => None,
            Value::Bool(false) => Some(format!("when {} is false", self.written(condition.span))),
            other => {
                let message = format!("the condition of a step must be a bool, got {}", value::kind(&other));
                eval.report.add(Diagnostic::error("E0305", message).at(condition.span, ""));
                None
            }
        }
    }

    /// Returns the span of a place in the settings file, which stands behind all others.
    pub fn in_settings(&self, place: &Range<usize>) -> Span {
        Span { source: self.units.len(), start: place.start, end: place.end }
    }

    /// Returns what is written there, as it is.
    pub fn slice(&self, span: Span) -> &'a str {
        self.units.get(span.source).and_then(|unit| unit.text.get(span.start..span.end)).unwrap_or_default()
    }

    /// Returns the file that it is written in.
    pub fn path(&self, span: Span) -> &'a Path {
        self.units.get(span.source).map_or(Path::new(""), |unit| &unit.path)
    }

    /// Says where `span` is, to someone who looks at `from`: its line and, where that is another one, its file.
    pub fn place(&self, span: Span, from: Span) -> String {
        let text = self.units.get(span.source).map_or("", |unit| unit.text);
        let before = text.as_bytes().get(..span.start).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let file = self.path(span).file_name().filter(|_| span.source != from.source);
        file.map_or(format!("line {line}"), |file| format!("line {line} of {}", file.to_string_lossy()))
    }
}
