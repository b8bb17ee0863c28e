//! Collects what each file declares, and which file may declare what.

use mlp_model::Span;

use super::load::{Unit, uses};
use super::names::{DefInfo, Entity, Entry, Env, ModuleInfo, Names, refuse_reserved};
use super::report::Report;
use crate::assign::AS_OF;
use crate::ast::{Decl, DeclKind, Name, ParamDecl, PipelineDecl};
use crate::diagnostic::Diagnostic;
use crate::outline::DECLARING;

/// A value of a file, before it is computed.
pub enum Constant<'a> {
    Param(&'a ParamDecl<'a>),
    Let(&'a crate::ast::LetDecl<'a>),
}

/// The values of one file: where each will stand, and what declares it.
pub type Constants<'a> = Vec<(usize, Constant<'a>)>;

/// Declares everything but sources and steps. The name space of a file has the file's number.
pub fn collect<'a>(units: &[Unit<'a>], report: Report<'a>) -> (Names<'a>, Vec<Constants<'a>>) {
    let mut names = Names::default();
    names.envs.extend(units.iter().map(|_| Env::default()));
    let mut constants = Vec::new();
    for (env, unit) in units.iter().enumerate() {
        let mut file = Collector { names: &mut names, env, report, constants: Vec::new() };
        let mut modules = unit.modules.iter();
        let mut has_broken_pipeline = false;
        for decl in &unit.tree.decls {
            if matches!(decl.kind, DeclKind::Broken { keyword: "pipeline", .. }) {
                has_broken_pipeline = true;
            }
            let module = if matches!(decl.kind, DeclKind::Use(_)) { modules.next().copied().flatten() } else { None };
            file.declare(decl, module);
        }
        constants.push(file.constants);
        if env == 0 && names.pipeline.is_none() && !has_broken_pipeline && !unit.tree.decls.is_empty() {
            let problem = Diagnostic::error("E0111", "the file declares no pipeline").at(Span::default(), "");
            report.add(problem.help("begin it with `pipeline NAME`"));
        }
    }
    debug_assert!(units.iter().all(|unit| uses(unit.tree).count() == unit.modules.len()));
    (names, constants)
}

struct Collector<'c, 'a> {
    names: &'c mut Names<'a>,
    env: usize,
    report: Report<'a>,
    constants: Constants<'a>,
}

impl<'a> Collector<'_, 'a> {
    fn declare(&mut self, decl: &'a Decl<'a>, module: Option<usize>) {
        let (keyword, name) = decl.head();
        let word = DECLARING.into_iter().find(|known| *known == keyword).unwrap_or("name");
        let is_for_modules = matches!(word, "use" | "let" | "schema" | "def" | "test");
        if self.env > 0 && !is_for_modules {
            if !matches!(decl.kind, DeclKind::Broken { .. })
                && let Some(name) = name
            {
                let message = format!("a module declares no {word}");
                let problem =
                    Diagnostic::error("E0224", message).at(name.span, "modules have `schema`, `def`, `let` and `use`");
                self.report.add(match word {
                    "param" => problem.help("give the def that needs it a parameter: `def name(value: int) { .. }`"),
                    "source" | "step" | "for" => problem.help("put it into a def: `def name(..) { step .. }`"),
                    _ => problem.help("it belongs into the file of a pipeline"),
                });
            }
            let is_new = |name: &Name<'_>| self.names.get(self.env, name.text).is_none();
            if let Some(name) = name.filter(|name| word != "pipeline" && is_new(name)) {
                self.names.declare(self.env, name, Entity::Broken, word, self.report);
            }
            return;
        }
        let entity = match &decl.kind {
            DeclKind::Pipeline(pipeline) => return self.pipeline(pipeline, decl.doc),
            DeclKind::Broken { keyword: "pipeline", .. } => return,
            DeclKind::Broken { keyword, .. } => {
                self.names.has_broken_release |= *keyword == "release";
                Entity::Broken
            }
            DeclKind::Use(decl) => {
                self.names.modules.push(ModuleInfo { env: module, name: decl.name, is_used: Default::default() });
                Entity::Module(self.names.modules.len() - 1)
            }
            DeclKind::Param(decl) => {
                let value = self.value(Constant::Param(decl));
                self.names.params.push((decl, value));
                Entity::Value(value)
            }
            DeclKind::Let(decl) => Entity::Value(self.value(Constant::Let(decl))),
            DeclKind::Schema(decl) => {
                self.names.schema_decls.push((decl, self.env));
                Entity::Schema(self.names.schema_decls.len() - 1)
            }
            DeclKind::Def(decl) => {
                self.names.defs.push(DefInfo { decl, env: self.env });
                Entity::Def(self.names.defs.len() - 1)
            }
            DeclKind::Gate(gate) => {
                self.names.gates.push((gate, decl.doc));
                Entity::Gate(self.names.gates.len() - 1)
            }
            DeclKind::Release(release) => {
                self.names.releases.push((release, decl.doc));
                Entity::Release(self.names.releases.len() - 1)
            }
            DeclKind::Given(decl) => return self.names.tests.givens.push(decl),
            DeclKind::Expect(decl) => return self.names.tests.expects.push(decl),
            // Each is checked by itself, and what stands in it is no part of the pipeline.
            DeclKind::Test(_) | DeclKind::Set(_) => return,
            // What a call stands for is settled when all defs are known.
            DeclKind::Call(_) | DeclKind::Loop(_) | DeclKind::Result(_) => return,
        };
        if let Some(name) = name {
            let word = if word == "use" { "module" } else { word };
            self.names.declare(self.env, name, entity, word, self.report);
        }
    }

    fn value(&mut self, constant: Constant<'a>) -> usize {
        self.names.values.push(None);
        let value = self.names.values.len() - 1;
        self.constants.push((value, constant));
        value
    }

    /// Declares the day that a run is for. It is a parameter whose name nothing else can have.
    fn as_of(&mut self, param: &'a ParamDecl<'a>) {
        let (name, ty) = (param.name, &param.ty);
        let is_date = ty.name.text == "date" && ty.args.is_empty() && !ty.optional;
        if name.text != AS_OF || !is_date {
            let span = if name.text == AS_OF { ty.span } else { name.span };
            let problem = Diagnostic::error("E0233", "a pipeline takes the day that a run is for, and nothing else");
            let problem = problem.at(span, "`as_of: date` belongs here");
            self.report.add(if name.text == AS_OF {
                problem
            } else {
                problem.help(format!("declare it below: `param {}: ..`", name.text))
            });
            let entity = Entity::Broken;
            self.names.envs[self.env].entries.entry(AS_OF).or_insert(Entry { entity, span: name.span, word: "param" });
            return;
        }
        let value = self.value(Constant::Param(param));
        self.names.params.push((param, value));
        let entry = Entry { entity: Entity::Value(value), span: name.span, word: "param" };
        let env = &mut self.names.envs[self.env];
        env.entries.insert(AS_OF, entry);
        env.order.push(AS_OF);
    }

    fn pipeline(&mut self, decl: &'a PipelineDecl<'a>, doc: &'a str) {
        let name = decl.name;
        refuse_reserved(name, self.report);
        match self.names.pipeline {
            None => {
                self.names.pipeline = Some((name, doc));
                decl.as_of.iter().for_each(|param| self.as_of(param));
            }
            Some((first, _)) => self.report.add(
                Diagnostic::error("E0111", "a file declares one pipeline")
                    .at(name.span, "a second one")
                    .and(first.span, "the first one")
                    .help("give each pipeline a file of its own"),
            ),
        }
    }
}
