//! What `champion.PART` means: a part of the file's only release, as it is live when the run starts.

use std::collections::HashMap;

use mlp_model::Span;

use super::Scope;
use super::names::{Entity, Followed};
use crate::ast::{Name, PartValue, ReleaseContent};
use crate::diagnostic::Diagnostic;
use crate::suggest::listed;

/// The release that `champion` speaks of.
pub enum Champion<'a> {
    Of {
        release: &'a str,
        parts: HashMap<&'a str, ChampionPart<'a>>,
    },
    /// None or several releases are declared; with the places of several.
    NotOne(Vec<Span>),
    /// The release could not be read.
    Unknown,
}

/// A part as it is written in the release; its types are not known yet.
#[derive(Clone, Copy)]
pub enum ChampionPart<'a> {
    /// An output of a call, with the output's name where it is written.
    Output { call: usize, output: Option<Name<'a>> },
    /// A value or a transform.
    NotAnArtifact,
    /// Wrong, and reported with the release.
    Unknown,
}

impl<'a> Champion<'a> {
    pub fn find(scope: &Scope<'a>) -> Self {
        let release = match scope.names.releases.as_slice() {
            _ if scope.names.has_broken_release => return Self::Unknown,
            [(release, _)] => release,
            releases => return Self::NotOne(releases.iter().map(|(release, _)| release.name.span).collect()),
        };
        let part_of = |path: &[Name<'a>]| match scope.follow(path) {
            Followed::Found { entity: Entity::Call(call), rest, .. } if rest.len() < 2 => {
                ChampionPart::Output { call, output: rest.first().copied() }
            }
            Followed::Found { entity: Entity::Value(_) | Entity::Schema(_), rest, .. } if rest.is_empty() => {
                ChampionPart::NotAnArtifact
            }
            _ => ChampionPart::Unknown,
        };
        let mut parts = HashMap::new();
        match &release.content {
            ReleaseContent::Model(expr) => {
                if let crate::ast::ExprKind::Path(path) = &expr.kind {
                    parts.insert("model", part_of(path));
                }
            }
            ReleaseContent::Bundle(bundle) => {
                for part in bundle {
                    let (name, value) = match &part.value {
                        PartValue::Transform(_) => (part.name, ChampionPart::NotAnArtifact),
                        PartValue::Expr(expr) => {
                            let value = match &expr.kind {
                                crate::ast::ExprKind::Path(path) => part_of(path),
                                _ => ChampionPart::NotAnArtifact,
                            };
                            (part.name.or(expr.as_name()), value)
                        }
                    };
                    if let Some(name) = name {
                        parts.entry(name.text).or_insert(value);
                    }
                }
            }
        }
        Self::Of { release: release.name.text, parts }
    }

    /// Returns the release and the part that `path`, which begins with `champion`, names.
    pub fn part(&self, path: &[Name<'a>]) -> Option<(&'a str, Name<'a>, ChampionPart<'a>)> {
        match (self, path) {
            (Self::Of { release, parts }, [_, part]) => parts.get(part.text).map(|found| (*release, *part, *found)),
            _ => None,
        }
    }

    /// Says why [`Champion::part`] has nothing; `None` when that is reported elsewhere.
    pub fn why_not(&self, path: &[Name<'a>], span: Span, scope: &Scope<'_>) -> Option<Diagnostic> {
        match self {
            Self::Unknown => None,
            Self::NotOne(releases) if releases.is_empty() => Some(
                Diagnostic::error("E0216", "there is no champion: the file declares no release")
                    .at(span, "")
                    .help("declare one: `release NAME = model when GATE`"),
            ),
            Self::NotOne(releases) => {
                let message = format!("`champion` is ambiguous: the file declares {} releases", releases.len());
                let problem = Diagnostic::error("E0216", message).at(span, "of which release?");
                let shown = releases.iter().take(4);
                Some(shown.fold(problem, |problem, release| problem.and(*release, "a release")))
            }
            Self::Of { release, parts } => {
                let mut names: Vec<_> = parts.keys().copied().collect();
                names.sort_unstable();
                let example = if names.contains(&"model") { Some("model") } else { names.first().copied() };
                let listed = listed(names.iter().copied(), "and");
                Some(match path {
                    [_, part] => Diagnostic::error("E0217", format!("release `{release}` has no part `{}`", part.text))
                        .at(part.span, format!("its parts are {listed}"))
                        .maybe_help(scope.report.suggest(part.text, names)),
                    _ => Diagnostic::error("E0217", "`champion` is a whole release, one part of it is needed")
                        .at(span, format!("the parts of `{release}` are {listed}"))
                        .maybe_help(example.map(|name| format!("write `champion.{name}`"))),
                })
            }
        }
    }
}
