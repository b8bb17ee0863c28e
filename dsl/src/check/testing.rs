//! The `test` blocks of a file: each is checked as a pipeline of its own, in which given rows stand in the place of
//! sources and steps.
//!
//! A test's tree is the file's tree, parsed anew and changed: so every span is a place of the file, every rule of the
//! language holds in a test as elsewhere, and what tests need is known here alone.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use mlp_model::{
    CallClass, Catalogue, Column, Comparison, Demand, Digest, Input, KnownValues, NodeKind, NumExpr, Pipeline,
    SourceText, Span, Type, Value,
};

use super::expected;
use super::inline;
use super::load::{self, Unit};
use super::{CheckInput, PIPELINE, Wanted, check_units, has_errors};
use crate::ast::{
    Binary, CallDecl, CallExpr, CheckDecl, Decl, DeclKind, ExpectDecl, ExpectKind, Expr, ExprKind, Field, File,
    GateDecl, GivenDecl, Label, Name, PipelineDecl, SetDecl, TestDecl, Text,
};
use crate::diagnostic::{Diagnostic, Severity};
use crate::shelf::Shelf;
use crate::suggest;
use crate::world::{Listed, PathKind, World, WorldError};
use crate::{outline, parse};

/// How the gates are called that hold what a test expects of figures; no name of a file has a blank.
pub(super) const GATE: &str = "expectation ";

/// The tests of a file, and what is wrong with it or them.
#[derive(Debug)]
pub struct CheckedTests {
    /// In the order of the file; empty when there are errors.
    pub tests: Vec<TestCase>,
    pub diagnostics: Vec<Diagnostic>,
    pub sources: Vec<SourceText>,
}

/// A test that checks: what it runs and what it expects.
#[derive(Debug)]
pub struct TestCase {
    pub name: String,
    pub span: Span,
    pub pipeline: Pipeline,
    /// The nodes to run; what they need is run, too.
    pub targets: Vec<String>,
    /// Files to write before it runs: where, and what.
    pub tables: Vec<(PathBuf, String)>,
    pub expectations: Vec<Expectation>,
}

#[derive(Debug)]
pub struct Expectation {
    /// As written, on one line.
    pub text: String,
    pub span: Span,
    pub kind: Expected,
}

#[derive(Debug)]
pub enum Expected {
    /// Just these rows; columns that are not named are not looked at.
    Rows {
        node: usize,
        output: String,
        columns: Vec<Column>,
        /// `None` is a blank cell.
        rows: Vec<Vec<Option<Value>>>,
        any_order: bool,
        /// How far a number may be off; `None`: as far as the last bits of arithmetic.
        within: Option<f64>,
    },
    /// So many rows.
    Count { node: usize, output: String, comparison: Option<Comparison>, n_rows: i64 },
    /// The checks of a gate that the pipeline has for it.
    Figures { gate: String },
    /// A failure of the step with this code.
    Fails { node: usize, code: String },
}

/// Returns whether a text declares tests, be it right or not.
pub fn declares_tests(text: &str) -> bool {
    outline::cut(0, text, &mut Vec::new()).chunks.iter().any(|chunk| chunk.keyword == "test")
}

/// Checks a file and its tests. `tables` is the folder, as an absolute path, in which given rows will be written as files.
///
/// A module has no pipeline; its tests are checked with it all the same.
pub fn check_tests(input: &CheckInput<'_>, tables: &Path) -> CheckedTests {
    check_some(input, tables, None)
}

/// As [`check_tests`] for one test, by its place among them, with the values of loops that its run has told.
pub fn check_test(input: &CheckInput<'_>, tables: &Path, number: usize, known: &KnownValues) -> CheckedTests {
    check_some(input, tables, Some((number, known)))
}

fn check_some(input: &CheckInput<'_>, tables: &Path, only: Option<(usize, &KnownValues)>) -> CheckedTests {
    let text = match super::read(input) {
        Ok(text) => text,
        Err(unreadable) => {
            return CheckedTests {
                tests: Vec::new(),
                diagnostics: unreadable.diagnostics,
                sources: unreadable.sources,
            };
        }
    };
    let (texts, outlines, trees) = (Shelf::default(), Shelf::default(), Shelf::default());
    let mut diagnostics = Vec::new();
    let outline = outline::cut(PIPELINE, &text, &mut diagnostics);
    let tree = parse::parse_file(PIPELINE, &outline, &mut diagnostics);
    let units =
        load::load(input, Unit::root(input, &text, &outline, &tree), &texts, &outlines, &trees, &mut diagnostics);
    let mut diagnostics = check_base(input, &units, diagnostics);
    let nothing = KnownValues::new();
    let bench = Bench { units: &units, tables, known: only.map_or(&nothing, |(_, known)| known) };
    let mut tests = bench.check_each(input, only.map(|(number, _)| number), &mut diagnostics);
    super::put_in_order(&mut diagnostics);
    if has_errors(&diagnostics) {
        tests.clear();
    }
    CheckedTests { tests, diagnostics, sources: load::sources(&units) }
}

/// Checks every test of a file that has been checked itself: adds what is wrong with them.
pub(super) fn check_all(input: &CheckInput<'_>, units: &[Unit<'_>], diagnostics: &mut Vec<Diagnostic>) {
    let nothing = KnownValues::new();
    Bench { units, tables: Path::new(INLINE_TABLES), known: &nothing }.check_each(input, None, diagnostics);
}

/// Where the tables of tests are said to be that nobody is going to run.
const INLINE_TABLES: &str = "/tables of tests";

/// Checks the file without its tests; a module as if it were a pipeline without nodes.
fn check_base(input: &CheckInput<'_>, units: &[Unit<'_>], diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let trees = Shelf::default();
    let known = KnownValues::new();
    let mut units = units.to_vec();
    let is_module = units.first().is_some_and(|root| {
        !root.tree.decls.is_empty() && !root.tree.decls.iter().any(|decl| decl.head().0 == "pipeline")
    });
    if is_module && let Some(root) = units.first_mut() {
        let mut tree = parse::parse_file(0, root.outline, &mut Vec::new());
        tree.decls.push(pipeline_of_module());
        root.tree = trees.put(tree);
    }
    let mut found = check_units(input, &units, &known, Wanted::default(), diagnostics).1;
    // Whether a parameter is given is a matter of each test.
    found.retain(|problem| problem.code != "E0214");
    found
}

fn pipeline_of_module<'a>() -> Decl<'a> {
    let name = Name { text: "tests", span: Span::default() };
    Decl { doc: "", kind: DeclKind::Pipeline(Box::new(PipelineDecl { name, as_of: None })) }
}

/// What all tests of a file are checked with.
struct Bench<'b> {
    units: &'b [Unit<'b>],
    tables: &'b Path,
    known: &'b KnownValues,
}

impl Bench<'_> {
    fn check_each(
        &self,
        input: &CheckInput<'_>,
        only: Option<usize>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<TestCase> {
        let Some(root) = self.units.first() else { return Vec::new() };
        let known: HashSet<Identity> = diagnostics.iter().map(identity).collect();
        let mut seen: Vec<(&str, Span)> = Vec::new();
        let mut tests = Vec::new();
        let all = root.tree.decls.iter().enumerate().filter_map(|(at, decl)| match &decl.kind {
            DeclKind::Test(test) => Some((at, test)),
            _ => None,
        });
        for (number, (at, test)) in all.enumerate() {
            if let Some((_, first)) = seen.iter().find(|(name, _)| *name == test.name.value) {
                let problem = Diagnostic::error("E0706", format!("there are two tests called {:?}", test.name.value));
                diagnostics.push(problem.at(test.name.span, "again here").and(*first, "first here"));
            }
            seen.push((&test.name.value, test.name.span));
            if only.is_some_and(|only| only != number) {
                continue;
            }
            let (case, found) = self.check_one(input, at, test.name.span);
            for mut problem in found {
                if problem.severity == Severity::Warning || known.contains(&identity(&problem)) {
                    continue;
                }
                if problem.primary().is_none_or(|label| !is_in(label.span, root, at)) {
                    problem = problem.and(test.name.span, "in this test");
                }
                diagnostics.push(problem);
            }
            tests.extend(case);
        }
        tests
    }

    fn check_one(&self, input: &CheckInput<'_>, at: usize, name_span: Span) -> (Option<TestCase>, Vec<Diagnostic>) {
        let mut problems = Vec::new();
        let (trees, texts) = (Shelf::default(), Shelf::default());
        let mut units = self.units.to_vec();
        let Some(root) = units.first_mut() else { return (None, problems) };
        let mut tree = parse::parse_file(0, root.outline, &mut Vec::new());
        if !tree.decls.iter().any(|decl| decl.head().0 == "pipeline") {
            tree.decls.push(pipeline_of_module());
        }
        let DeclKind::Test(test) = tree.decls.remove(at).kind else { return (None, problems) };
        tree.decls.retain(|decl| !matches!(decl.kind, DeclKind::Test(_)));
        let name = test.name.value.clone().into_owned();
        let mut rewrite = Rewrite {
            text: root.text,
            tables: self.tables,
            catalogue: input.catalogue,
            texts: &texts,
            tree,
            files: Vec::new(),
            own_sources: Vec::new(),
        };
        rewrite.apply(test, &mut problems);
        let Rewrite { tree, files, own_sources, .. } = rewrite;
        root.tree = trees.put(tree);
        let world = WithTables { world: input.world, tables: self.tables };
        // A test means the same whatever the command line says.
        let params = Default::default();
        let input = CheckInput { file: input.file, params: &params, catalogue: input.catalogue, world: &world };
        let mut expectations = Vec::new();
        let wanted = Wanted { expectations: Some(&mut expectations), ..Wanted::default() };
        let (pipeline, mut found) = check_units(&input, &units, self.known, wanted, problems);
        let Some(pipeline) = pipeline.filter(|_| !has_errors(&found)) else { return (None, found) };
        let sources = load::sources(&units);
        let mut case = TestCase {
            name,
            span: name_span,
            pipeline: Pipeline { sources, ..pipeline },
            targets: Vec::new(),
            tables: Vec::new(),
            expectations,
        };
        case.make_small();
        case.fill_tables(files, self.tables);
        case.find_targets(&own_sources, &mut found);
        (Some(case), found)
    }
}

/// Whether a place is written in the test that is declaration number `at`.
fn is_in(span: Span, root: &Unit<'_>, at: usize) -> bool {
    root.outline.chunks.get(at).is_some_and(|chunk| span.source == 0 && (chunk.start..chunk.end).contains(&span.start))
}

/// What makes two findings the same.
type Identity = (Cow<'static, str>, String, Option<Span>);

fn identity(diagnostic: &Diagnostic) -> Identity {
    (diagnostic.code.clone(), diagnostic.message.clone(), diagnostic.primary().map(|label| label.span))
}

impl TestCase {
    /// A few rows need no machine to speak of, and a failure is expected or not: it is not tried again.
    fn make_small(&mut self) {
        for node in &mut self.pipeline.nodes {
            let NodeKind::Call(call) = &mut node.kind else { continue };
            call.options.retries = 0;
            let Demand { gpu, gpu_mem_bytes, .. } = std::mem::take(&mut call.options.demand);
            call.options.demand = Demand { gpu, gpu_mem_bytes, ..Demand::default() };
        }
    }

    /// Writes given rows as the sources that read them have their columns.
    fn fill_tables(&mut self, files: Vec<GivenFile>, folder: &Path) {
        for GivenFile { name, path: provisional, table } in files {
            let node = self.pipeline.nodes.iter_mut().find(|node| node.name == name);
            let Some(NodeKind::Call(call)) = node.map(|node| &mut node.kind) else { continue };
            let columns = match call.outputs.first().map(|output| &output.ty) {
                Some(Type::Table(ty)) => ty.columns.as_slice(),
                _ => &[],
            };
            let blank = call.params.get("blank").and_then(Value::as_strings);
            let blank = blank.and_then(|blank| blank.first().map(|blank| (*blank).to_owned())).unwrap_or_default();
            let csv = table.to_csv(columns, &blank);
            // Named after its content: then nobody else's tables can be in its way.
            let written = folder.join(Digest::of(csv.as_bytes()).short()).join(format!("{name}.csv"));
            for input in call.inputs.values_mut() {
                if let Input::Path { path, shown, .. } = input
                    && *path == provisional
                {
                    (*path, *shown) = (written.clone(), format!("given {name}"));
                }
            }
            self.tables.push((written, csv));
        }
    }

    /// Finds what must run, and refuses what would read data that the test is not given.
    fn find_targets(&mut self, own_sources: &[String], problems: &mut Vec<Diagnostic>) {
        let nodes = &self.pipeline.nodes;
        let mut told = BTreeSet::new();
        for expectation in &self.expectations {
            let at = match &expectation.kind {
                Expected::Rows { node, .. } | Expected::Count { node, .. } | Expected::Fails { node, .. } => {
                    Some(*node)
                }
                Expected::Figures { gate } => self.pipeline.node(gate).map(|(node, _)| node),
            };
            let Some(at) = at else { continue };
            let target = nodes[at].name.clone();
            if !self.targets.contains(&target) {
                self.targets.push(target);
            }
            let mut open = match &nodes[at].kind {
                NodeKind::Gate(gate) => nodes_of_gate(gate),
                _ => vec![at],
            };
            let mut is_seen = vec![false; nodes.len()];
            while let Some(at) = open.pop() {
                if std::mem::replace(&mut is_seen[at], true) {
                    continue;
                }
                let NodeKind::Call(call) = &nodes[at].kind else { continue };
                open.extend(call.options.waits.iter().map(|waits| waits.node));
                for read in call.inputs.values() {
                    match read {
                        Input::Output { node, .. } => open.push(*node),
                        Input::Path { path, .. } => {
                            let is_given = self.tables.iter().any(|(table, _)| table == path);
                            let is_real = call.class == CallClass::Source && !is_given;
                            if is_real && !own_sources.contains(&nodes[at].name) && told.insert(at) {
                                let name = &nodes[at].name;
                                let message = format!("the test reads source `{name}`, which it is not given");
                                problems.push(
                                    Diagnostic::error("E0703", message)
                                        .at(expectation.span, "needs it")
                                        .and(nodes[at].span, "reads the real data")
                                        .help(format!("give it rows: `given {name} = \"\"\"..\"\"\"`")),
                                );
                            }
                        }
                        Input::Champion { .. } => {}
                    }
                }
            }
        }
    }
}

fn nodes_of_gate(gate: &mlp_model::Gate) -> Vec<usize> {
    fn collect(expr: &NumExpr, nodes: &mut Vec<usize>) {
        match expr {
            NumExpr::Number(_) => {}
            NumExpr::Metric { node, .. } => nodes.push(*node),
            NumExpr::Negate(inner) => collect(inner, nodes),
            NumExpr::Add(left, right)
            | NumExpr::Subtract(left, right)
            | NumExpr::Multiply(left, right)
            | NumExpr::Divide(left, right) => {
                collect(left, nodes);
                collect(right, nodes);
            }
            NumExpr::Fold { of, .. } => of.iter().for_each(|expr| collect(expr, nodes)),
        }
    }
    let mut nodes = Vec::new();
    for check in &gate.checks {
        collect(&check.left, &mut nodes);
        collect(&check.right, &mut nodes);
    }
    nodes
}

/// Rows that become a file.
struct GivenFile {
    /// What they are given for.
    name: String,
    /// What the file is called while its columns are not known.
    path: PathBuf,
    table: inline::Table,
}

/// Turns the tree of a file into the tree of one of its tests.
struct Rewrite<'a> {
    text: &'a str,
    tables: &'a Path,
    catalogue: &'a Catalogue,
    /// Names that nobody wrote.
    texts: &'a Shelf<String>,
    tree: File<'a>,
    files: Vec<GivenFile>,
    /// Sources that the test declares itself.
    own_sources: Vec<String>,
}

impl<'a> Rewrite<'a> {
    fn apply(&mut self, test: TestDecl<'a>, problems: &mut Vec<Diagnostic>) {
        let (mut n_expected, mut has_broken) = (0, false);
        for decl in test.body {
            match decl.kind {
                DeclKind::Given(given) => self.given(*given, problems),
                DeclKind::Set(set) => self.set(set, problems),
                DeclKind::Expect(expect) => {
                    n_expected += 1;
                    self.expect(*expect, n_expected);
                }
                DeclKind::Call(call) if call.class == CallClass::Source => {
                    self.own_sources.push(call.name.text.to_owned());
                    self.put(Decl { doc: decl.doc, kind: DeclKind::Call(call) });
                }
                DeclKind::Call(_) | DeclKind::Schema(_) => self.tree.decls.push(decl),
                _ => has_broken = true,
            }
        }
        if n_expected == 0 && !has_broken {
            let message = format!("test {:?} expects nothing", test.name.value);
            let help = "add `expect NODE == \"\"\"..\"\"\"`, `expect rows(NODE) == 3` or `expect REPORT.METRIC >= 0.9`";
            problems.push(Diagnostic::error("E0706", message).at(test.name.span, "").help(help));
        }
    }

    /// Puts a call in the place of the source or step of its name; adds it where there is none.
    fn put(&mut self, decl: Decl<'a>) {
        match self.called(decl.head().1.map_or("", |name| name.text)) {
            Some(at) => self.tree.decls[at] = decl,
            None => self.tree.decls.push(decl),
        }
    }

    fn called(&self, name: &str) -> Option<usize> {
        self.tree.decls.iter().position(|decl| match &decl.kind {
            DeclKind::Call(call) => call.name.text == name,
            _ => false,
        })
    }

    /// Gives a parameter another value.
    fn set(&mut self, set: SetDecl<'a>, problems: &mut Vec<Diagnostic>) {
        let params = self.tree.decls.iter_mut().filter_map(|decl| match &mut decl.kind {
            DeclKind::Param(param) => Some(&mut **param),
            DeclKind::Pipeline(pipeline) => pipeline.as_of.as_mut(),
            _ => None,
        });
        let mut params: Vec<_> = params.collect();
        match params.iter_mut().find(|param| param.name.text == set.name.text) {
            Some(param) => param.default = Some(set.value),
            None => {
                let message = format!("the pipeline has no parameter `{}`", set.name.text);
                let problem = Diagnostic::error("E0704", message).at(set.name.span, "nothing to set");
                let names = params.iter().map(|param| param.name.text);
                problems.push(problem.maybe_help(suggest::help(set.name.text, names)));
            }
        }
    }

    /// Leaves an expectation for the checker; one of figures becomes a gate, which then decides as any other does.
    fn expect(&mut self, expect: ExpectDecl<'a>, number: usize) {
        let ExpectDecl { kind: ExpectKind::Compare(expr), span } = expect else {
            return self.tree.decls.push(Decl { doc: "", kind: DeclKind::Expect(Box::new(expect)) });
        };
        if expected::is_count(&expr) {
            let expect = ExpectDecl { kind: ExpectKind::Compare(expr), span };
            return self.tree.decls.push(Decl { doc: "", kind: DeclKind::Expect(Box::new(expect)) });
        }
        let name = |text: &'a str| Name { text, span };
        let checks = match expr.kind {
            // Gates know no `==`, as figures are rarely equal; a test of a few rows may well count on it.
            ExprKind::Binary { op: Binary::Equal, op_span, left, right } => {
                let sides = [(">=", Comparison::GreaterOrEqual), ("<=", Comparison::LessOrEqual)];
                let check = |(text, comparison)| {
                    let (op, left, right) = (Binary::Compare(comparison), left.clone(), right.clone());
                    let kind = ExprKind::Binary { op, op_span, left, right };
                    CheckDecl { name: name(text), expr: Expr { kind, ..expr }, span }
                };
                sides.map(check).into()
            }
            _ => {
                let text = self.text.get(expr.span.start..expr.span.end).unwrap_or_default();
                vec![CheckDecl { name: name(text), expr, span }]
            }
        };
        let gate = self.texts.put(format!("{GATE}{number}"));
        let gate = GateDecl { name: name(gate), checks, firsts: Vec::new() };
        self.tree.decls.push(Decl { doc: "", kind: DeclKind::Gate(gate) });
    }

    /// Puts rows in the place of the source or step of that name, or adds a source.
    fn given(&mut self, given: GivenDecl<'a>, problems: &mut Vec<Diagnostic>) {
        let GivenDecl { name, schema, table } = given;
        let Some(written) = inline::read(&table, problems) else { return };
        let path = self.tables.join(format!("{}.csv", name.text));
        let text = Text { value: Cow::Owned(path.to_string_lossy().into_owned()), pieces: Vec::new(), ..table.clone() };
        let mut args = vec![Field { name: None, value: expr(ExprKind::Text(Box::new(text)), table.span) }];
        let label = |text: &'a str, span| Some(Label { text: Cow::Borrowed(text), span });
        let old = self.called(name.text).map(|at| &mut self.tree.decls[at].kind);
        if let Some(schema) = schema {
            args.push(Field { name: label("schema", schema.span), value: schema });
        } else if let Some(DeclKind::Call(CallDecl { value: Expr { kind: ExprKind::Call(call), .. }, .. })) = old {
            let signature = self.catalogue.get(call.path.text);
            let is_csv = call.path.text == "csv.read";
            let mut is_behind_named = false;
            for (at, mut field) in call.args.drain(..).enumerate() {
                is_behind_named |= field.name.is_some();
                let formal = match &field.name {
                    Some(name) => Some(name.text.clone()),
                    // A bare name behind a named argument is short for an argument of that name.
                    None if is_behind_named => field.value.as_name().map(|name| Cow::Borrowed(name.text)),
                    None => signature.and_then(|signature| signature.args.get(at)).map(|arg| Cow::Borrowed(arg.name)),
                };
                let is_kept = match formal.as_deref() {
                    Some("schema") => true,
                    // Given rows are separated by commas, and read as the source reads its own otherwise.
                    Some(other) => is_csv && !["file", "delimiter"].contains(&other),
                    None => false,
                };
                if let (true, Some(formal)) = (is_kept, formal) {
                    field.name = Some(Label { text: Cow::Owned(formal.into_owned()), span: field.value.span });
                    args.push(field);
                }
            }
        }
        if args.iter().all(|field| field.name.as_ref().is_none_or(|name| name.text != "schema")) {
            let message = format!("the rows of `{}` have no schema", name.text);
            let problem = Diagnostic::error("E0702", message).at(name.span, "what are its columns?");
            problems.push(problem.help(format!("name one: `given {}: SCHEMA = \"\"\"..\"\"\"`", name.text)));
            // What it would have given is not known, and nothing is said about what needs it.
            return self.put(Decl { doc: "", kind: DeclKind::Broken { keyword: "source", name: Some(name) } });
        }
        let end = Span { start: table.span.end, ..table.span };
        let call = CallExpr { path: Name { text: "csv.read", span: name.span }, args, end };
        let value = expr(ExprKind::Call(Box::new(call)), name.span);
        let call = CallDecl { class: CallClass::Source, name, value, options: Vec::new(), condition: None, text: 0 };
        self.put(Decl { doc: "", kind: DeclKind::Call(call) });
        self.files.push(GivenFile { name: name.text.to_owned(), path, table: written });
        let given = GivenDecl { name, schema: None, table };
        self.tree.decls.push(Decl { doc: "", kind: DeclKind::Given(Box::new(given)) });
    }
}

fn expr<'a>(kind: ExprKind<'a>, span: Span) -> Expr<'a> {
    Expr { kind, span, depth: 1 }
}

/// The world, with the files that given rows will be in.
struct WithTables<'w> {
    world: &'w dyn World,
    tables: &'w Path,
}

impl World for WithTables<'_> {
    fn read(&self, path: &Path) -> Result<String, WorldError> {
        self.world.read(path)
    }

    fn kind(&self, path: &Path) -> PathKind {
        if path.starts_with(self.tables) { PathKind::File } else { self.world.kind(path) }
    }

    fn line_of(&self, path: &Path, offset: usize) -> Option<usize> {
        self.world.line_of(path, offset)
    }

    fn list(&self, path: &Path) -> Result<Vec<Listed>, WorldError> {
        self.world.list(path)
    }
}
