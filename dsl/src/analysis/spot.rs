//! Where a cursor is: in which call and argument, and what could stand there.

use mlp_model::InputType;

use super::callee::{Binding, Callee, Formal, Takes};
use super::tree::{Decl, Group, Item, Kind, Term};
use super::view::{Scope, View};

/// The declaration that a cursor is in, the innermost of those that stand in each other.
#[derive(Clone, Copy)]
pub struct Inner<'d, 'a> {
    pub decl: &'d Decl<'a>,
    /// The declaration whose body it stands in.
    pub holder: Option<&'d Decl<'a>>,
    pub scope: Scope,
}

/// Finds the innermost declaration around byte `at`; behind one, up to the next, that one is meant.
pub fn innermost<'d, 'a>(view: &View<'a>, decl: &'d Decl<'a>, at: usize) -> Inner<'d, 'a> {
    let mut inner = Inner { decl, holder: None, scope: Scope::default() };
    while let Kind::Other { body, closing, .. } = &inner.decl.kind
        && closing.is_none_or(|closing| at <= closing)
        && let Some(next) = body.iter().rev().find(|next| next.keyword.start <= at)
    {
        let within = view.index.starting_at(inner.decl.keyword.start).or(inner.scope.within);
        inner = Inner { decl: next, holder: Some(inner.decl), scope: Scope { within, ..inner.scope } };
    }
    inner.scope.is_effect = inner.decl.keyword.text == "effect";
    inner
}

/// The innermost place that a cursor is in.
pub struct Spot<'d, 'a> {
    pub scope: Scope,
    /// The calls around it, the innermost last.
    pub calls: Vec<Around<'d, 'a>>,
    /// The innermost brackets of any kind.
    pub group: Option<&'d Group<'a>>,
    pub item: Option<&'d Item<'a>>,
    pub terms: &'d [Term<'a>],
    pub takes: Takes<'a>,
}

/// A call with the cursor in its brackets.
pub struct Around<'d, 'a> {
    pub callee: Callee<'a>,
    pub formals: Vec<Formal<'a>>,
    pub bindings: Vec<Binding>,
    pub group: &'d Group<'a>,
    /// The item that the cursor is in.
    pub item: usize,
}

impl<'a> Around<'_, 'a> {
    /// Returns the argument that the cursor is in.
    pub fn formal(&self) -> Option<&Formal<'a>> {
        match self.bindings.get(self.item)? {
            Binding::Formal(at) | Binding::Short(at) => self.formals.get(*at),
            Binding::Nothing => None,
        }
    }

    /// Returns whether an argument is given in another item.
    pub fn is_given(&self, formal: usize) -> bool {
        let mut others = self.bindings.iter().enumerate().filter(|(item, _)| *item != self.item);
        others.any(|(_, binding)| matches!(binding, Binding::Formal(at) | Binding::Short(at) if *at == formal))
    }

    /// Returns whether an argument before the cursor is given by its name.
    pub fn is_behind_named(&self) -> bool {
        let before = self.group.items.iter().take(self.item);
        matches!(self.callee, Callee::Options) || before.into_iter().any(|item| item.name.is_some())
    }
}

static REPORT: InputType = InputType::Report;

/// Finds the place of byte `at` in a declaration.
pub fn find<'d, 'a>(view: &View<'a>, decl: &'d Decl<'a>, at: usize) -> Spot<'d, 'a> {
    find_in(view, innermost(view, decl, at), at)
}

/// Finds the place of byte `at` in the declaration that is the innermost there.
pub fn find_in<'d, 'a>(view: &View<'a>, inner: Inner<'d, 'a>, at: usize) -> Spot<'d, 'a> {
    let Inner { decl, scope, .. } = inner;
    let mut spot = Spot { scope, calls: Vec::new(), group: None, item: None, terms: &[], takes: Takes::Value };
    match &decl.kind {
        Kind::Pipeline => {}
        Kind::Param { rest, .. } => spot.enter(view, rest, Takes::Value, at),
        Kind::Schema { columns } => {
            if let Some(column) = columns.iter().rev().find(|column| column.name.word.start <= at) {
                spot.enter(view, &column.terms, Takes::Value, at);
            }
        }
        Kind::Call { value, options, condition } => {
            spot.enter(view, value, Takes::Value, at);
            if let Some(options) = options.as_ref().filter(|options| options.holds(at)) {
                spot.enter_call(view, Callee::Options, options, at);
            }
            if condition.iter().any(|term| matches!(term, Term::Group(group) if group.holds(at))) {
                spot.enter(view, condition, Takes::Value, at);
            }
        }
        Kind::Gate { checks } => {
            if let Some(check) = checks.iter().rev().find(|check| check.name.end <= at) {
                spot.enter(view, &check.terms, Takes::Value, at);
            }
        }
        Kind::Release { value, bundle, .. } => {
            spot.enter(view, value, Takes::Artifact, at);
            if let Some(bundle) = bundle.as_ref().filter(|bundle| bundle.holds(at)) {
                spot.enter_group(view, bundle, Takes::Artifact, at);
            }
        }
        Kind::Other { terms, .. } => {
            let takes = match decl.keyword.text {
                "result" => Takes::Artifact,
                "expect" => Takes::Input(&REPORT),
                _ => Takes::Value,
            };
            spot.enter(view, terms, takes, at);
        }
    }
    spot
}

impl<'d, 'a> Spot<'d, 'a> {
    fn enter(&mut self, view: &View<'a>, terms: &'d [Term<'a>], takes: Takes<'a>, at: usize) {
        self.terms = terms;
        self.takes = takes;
        for term in terms {
            match term {
                Term::Path(path) => {
                    let Some(group) = path.arguments.as_ref().filter(|group| group.holds(at)) else { continue };
                    match view.callee(path, takes, self.scope) {
                        Some(callee) => self.enter_call(view, callee, group, at),
                        None => self.enter_group(view, group, Takes::Value, at),
                    }
                    return;
                }
                Term::Group(group) if group.holds(at) => {
                    self.enter_group(view, group, takes.inside(group.bracket), at);
                    return;
                }
                _ => {}
            }
        }
    }

    fn enter_group(&mut self, view: &View<'a>, group: &'d Group<'a>, takes: Takes<'a>, at: usize) {
        self.group = Some(group);
        self.item = group.item_at(at).and_then(|item| group.items.get(item));
        self.terms = &[];
        self.takes = takes;
        if let Some(item) = self.item {
            self.enter(view, &item.terms, takes, at);
        }
    }

    fn enter_call(&mut self, view: &View<'a>, callee: Callee<'a>, group: &'d Group<'a>, at: usize) {
        let formals = callee.formals();
        let bindings = callee.bind(&formals, group);
        let around = Around { callee, formals, bindings, group, item: group.item_at(at).unwrap_or(0) };
        let takes = around.formal().map_or(Takes::Value, |formal| formal.takes);
        self.calls.push(around);
        self.enter_group(view, group, takes, at);
    }

    /// Returns the call whose argument list the cursor is in directly.
    pub fn call(&self) -> Option<&Around<'d, 'a>> {
        let group = self.group?;
        self.calls.last().filter(|around| std::ptr::eq(around.group, group))
    }
}
