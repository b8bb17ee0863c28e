//! The files that a pattern means: `files("data/*.parquet")`.
//!
//! A pattern is matched part by part: `*`, `?` and `[..]` stay within a name, `**` goes through any number of folders. As in a
//! shell, a name that begins with a dot is met only by a pattern that writes the dot.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use mlp_model::Value;

use super::bind::{self, Formal};
use super::value::{Eval, kind};
use crate::ast::CallExpr;
use crate::diagnostic::Diagnostic;
use crate::world::{PathKind, World, WorldError};

/// So many files at most may match: each becomes a round of a loop.
const MOST_FILES: usize = 10_000;

/// So many folders at most are looked into for one pattern.
const MOST_FOLDERS: usize = 100_000;

const RULES: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

const SIGNS: [char; 3] = ['*', '?', '['];

/// Returns the files that match, in order, each with its key: what the pattern leaves open of its path.
pub fn matching(
    call: &CallExpr<'_>,
    eval: &Eval<'_, '_>,
    world: &dyn World,
    file: &Path,
) -> Option<Vec<(String, Value)>> {
    let bound = bind::bind(call, &[Formal { name: "pattern", required: true }], eval.report);
    let expr = bound.values.first().copied().flatten().filter(|_| bound.is_complete)?;
    let pattern = match eval.value(expr)? {
        Value::Str(pattern) => pattern,
        other => {
            let message = format!("`files` takes a pattern as a string, got {}", kind(&other));
            eval.report.add(Diagnostic::error("E0301", message).at(expr.span, ""));
            return None;
        }
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    let here = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let refuse = |message: String, help: String| {
        eval.report.add(Diagnostic::error("E0220", message).at(expr.span, "").help(help));
        None
    };
    let found = match Search::new(world, folder).all(&pattern) {
        Ok(found) => found,
        Err(Trouble::Pattern(reason)) => {
            let help =
                "`*` stands for any letters of a name, `?` for one, `[ab]` for one of these, `**` for any folders";
            return refuse(format!("the pattern `{pattern}` cannot be read: {reason}"), help.to_owned());
        }
        Err(Trouble::Unreadable(path, reason)) => {
            let message = format!("cannot list `{}` for the pattern `{pattern}`: {reason}", path.display());
            return refuse(message, "let mlp read the folder, or narrow the pattern".to_owned());
        }
        Err(Trouble::NotUtf8(path)) => {
            let message = format!("the name of a file that `{pattern}` matches is not UTF-8: `{}`", path.display());
            return refuse(message, "give it a name that can be written in a pipeline".to_owned());
        }
        Err(Trouble::TooMany) => {
            let message =
                format!("`{pattern}` looks through more than {MOST_FOLDERS} folders or matches too many files");
            return refuse(message, format!("narrow the pattern; a loop goes over at most {MOST_FILES} files"));
        }
    };
    if found.is_empty() {
        let help = format!("patterns are relative to the folder of `{here}`; only files match, folders do not");
        return refuse(format!("no file matches `{pattern}`"), help);
    }
    Some(found.into_iter().map(|path| (key_of(&pattern, &path), Value::Str(path))).collect())
}

/// Returns what of a path the pattern leaves open. It depends on no other file, so that one more renames no node.
fn key_of(pattern: &str, path: &str) -> String {
    let (Some(first), Some(last)) = (pattern.find(SIGNS), pattern.rfind(['*', '?', ']'])) else {
        return path.to_owned();
    };
    let before = &pattern[..first];
    // The slash behind `**` is part of what it stands for.
    let behind = pattern[last + 1..].trim_start_matches('/');
    let open = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind)).unwrap_or(path);
    match open.trim_end_matches('/') {
        "" => path.to_owned(),
        open => open.to_owned(),
    }
}

enum Trouble {
    Pattern(&'static str),
    Unreadable(PathBuf, String),
    NotUtf8(PathBuf),
    TooMany,
}

struct Search<'w> {
    world: &'w dyn World,
    base: &'w Path,
    n_folders: usize,
    found: BTreeSet<String>,
}

impl<'w> Search<'w> {
    fn new(world: &'w dyn World, base: &'w Path) -> Self {
        Self { world, base, n_folders: 0, found: BTreeSet::new() }
    }

    fn all(mut self, pattern: &str) -> Result<BTreeSet<String>, Trouble> {
        if pattern.is_empty() {
            return Err(Trouble::Pattern("it is empty"));
        }
        let mut parts = Vec::new();
        for part in pattern.split('/') {
            parts.push((part, Pattern::new(part).map_err(|error| Trouble::Pattern(error.msg))?));
        }
        self.step("", &parts)?;
        Ok(self.found)
    }

    /// Goes on from the folder `at` (empty, or with a slash behind) with the parts of the pattern that are left.
    fn step(&mut self, at: &str, parts: &[(&str, Pattern)]) -> Result<(), Trouble> {
        let Some(((part, pattern), rest)) = parts.split_first() else { return Ok(()) };
        if !part.contains(SIGNS) {
            let path = format!("{at}{part}");
            return match self.world.kind(&self.base.join(&path)) {
                PathKind::File if rest.is_empty() => self.add(path),
                _ if rest.is_empty() => Ok(()),
                PathKind::Folder => self.step(&format!("{path}/"), rest),
                // The root of an absolute pattern is written as nothing.
                _ if part.is_empty() && at.is_empty() => self.step("/", rest),
                PathKind::File | PathKind::Missing => Ok(()),
            };
        }
        let is_deep = *part == "**";
        if is_deep {
            // No folder at all is one of the cases; behind a last `**` stands any file.
            match rest {
                [] => return self.step(at, &[parts, &[("*", Pattern::default())]].concat()),
                _ => self.step(at, rest)?,
            }
        }
        let folder = self.base.join(at);
        self.n_folders += 1;
        if self.n_folders > MOST_FOLDERS {
            return Err(Trouble::TooMany);
        }
        let entries = match self.world.list(&folder) {
            Ok(entries) => entries,
            Err(WorldError::NotFound) => return Ok(()),
            Err(error) => return Err(Trouble::Unreadable(folder, error.to_string())),
        };
        for entry in entries {
            let path = format!("{at}{}", entry.name);
            let is_met = match is_deep {
                true => entry.kind == PathKind::Folder && !entry.is_link && !entry.name.starts_with('.'),
                false => (*part == "*" && !entry.name.starts_with('.')) || pattern.matches_with(&entry.name, RULES),
            };
            if !is_met {
                continue;
            }
            match entry.kind {
                PathKind::Folder if is_deep => self.step(&format!("{path}/"), parts)?,
                PathKind::Folder if !rest.is_empty() => self.step(&format!("{path}/"), rest)?,
                PathKind::File if rest.is_empty() => self.add(path)?,
                PathKind::File | PathKind::Folder | PathKind::Missing => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, path: String) -> Result<(), Trouble> {
        if path.contains(char::REPLACEMENT_CHARACTER) {
            return Err(Trouble::NotUtf8(self.base.join(path)));
        }
        self.found.insert(path);
        if self.found.len() > MOST_FILES { Err(Trouble::TooMany) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Listed;

    /// A world of these files.
    struct Files(&'static [&'static str]);

    impl World for Files {
        fn read(&self, _: &Path) -> Result<String, WorldError> {
            Err(WorldError::NotFound)
        }

        fn kind(&self, path: &Path) -> PathKind {
            match self.0.iter().find(|file| Path::new(file).starts_with(path)) {
                Some(file) if Path::new(file) == path => PathKind::File,
                Some(_) => PathKind::Folder,
                None => PathKind::Missing,
            }
        }

        fn list(&self, path: &Path) -> Result<Vec<Listed>, WorldError> {
            let mut names: Vec<_> = self.0.iter().filter_map(|file| Path::new(file).strip_prefix(path).ok()).collect();
            names.sort();
            let firsts =
                names.iter().filter_map(|rest| Some(rest.components().next()?.as_os_str().to_str()?.to_owned()));
            let firsts: BTreeSet<String> = firsts.collect();
            let listed = firsts.into_iter().map(|name| {
                let kind = self.kind(&path.join(&name));
                Listed { name, kind, is_link: false }
            });
            Ok(listed.collect())
        }
    }

    fn check(pattern: &str, expected: &[(&str, &str)]) {
        let world = Files(&[
            "p/data/2025-01.csv",
            "p/data/2025-02.csv",
            "p/data/.hidden.csv",
            "p/data/notes.txt",
            "p/data/north/a.csv",
            "p/data/north/deep/a.csv",
            "p/data/south/a.csv",
        ]);
        let found = Search::new(&world, Path::new("p")).all(pattern).ok().expect("a pattern");
        let found: Vec<_> = found.iter().map(|path| (path.clone(), key_of(pattern, path))).collect();
        let expected: Vec<_> = expected.iter().map(|(path, key)| ((*path).to_owned(), (*key).to_owned())).collect();
        assert_eq!(found, expected, "{pattern}");
    }

    #[test]
    fn a_star_stays_within_a_name_and_the_key_is_what_it_stands_for() {
        check("data/*.csv", &[("data/2025-01.csv", "2025-01"), ("data/2025-02.csv", "2025-02")]);
        check("data/2025-0?.csv", &[("data/2025-01.csv", "1"), ("data/2025-02.csv", "2")]);
        check("data/2025-0[2-9].csv", &[("data/2025-02.csv", "2")]);
        check("data/.*.csv", &[("data/.hidden.csv", "hidden")]);
        check("data/*/a.csv", &[("data/north/a.csv", "north"), ("data/south/a.csv", "south")]);
    }

    #[test]
    fn two_stars_go_through_any_number_of_folders() {
        check(
            "data/**/a.csv",
            &[("data/north/a.csv", "north"), ("data/north/deep/a.csv", "north/deep"), ("data/south/a.csv", "south")],
        );
        let below_north = [("data/north/a.csv", "a.csv"), ("data/north/deep/a.csv", "deep/a.csv")];
        check("data/north/**", &below_north);
        check("data/north/**/*.csv", &[("data/north/a.csv", "a"), ("data/north/deep/a.csv", "deep/a")]);
    }

    #[test]
    fn without_a_sign_a_pattern_is_the_path_itself() {
        check("data/notes.txt", &[("data/notes.txt", "data/notes.txt")]);
        check("data", &[]);
        check("none/*.csv", &[]);
    }
}
