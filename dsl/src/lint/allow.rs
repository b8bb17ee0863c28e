//! `// lint: allow L0606 REASON`, behind what it is about or on the line above.

use super::{ALL, Linted, Subject, span_of};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::format::lex::{Kind, Token};
use crate::suggest;

/// Something silenced, visibly.
#[derive(Debug, Clone)]
pub struct Allowed {
    pub diagnostic: Diagnostic,
    pub reason: String,
}

/// A comment that silences codes on one line.
struct Allow<'a> {
    comment: Token<'a>,
    codes: Vec<&'a str>,
    reason: &'a str,
    line: usize,
}

pub fn apply(subject: &Subject<'_>, found: Vec<Diagnostic>) -> Linted {
    let mut linted = Linted::default();
    let allows = allows(subject, &mut linted.diagnostics);
    let mut used = vec![false; allows.iter().map(|allow| allow.codes.len()).sum()];
    for diagnostic in found {
        let line = diagnostic.primary().map(|label| line_of(subject.text, label.span.start));
        let mut place = 0;
        let mut silenced = None;
        for allow in &allows {
            for code in &allow.codes {
                if Some(allow.line) == line && *code == diagnostic.code {
                    used[place] = true;
                    silenced = Some(allow.reason);
                }
                place += 1;
            }
        }
        match silenced {
            Some(reason) => linted.allowed.push(Allowed { diagnostic, reason: reason.to_owned() }),
            None => linted.diagnostics.push(diagnostic),
        }
    }
    let codes = allows.iter().flat_map(|allow| allow.codes.iter().map(move |code| (allow, code)));
    for ((allow, code), used) in codes.zip(used) {
        if !used {
            let problem = Diagnostic::warning("L0621", format!("nothing here gives `{code}`"))
                .at(span_of(&allow.comment), "silences nothing")
                .help("remove it, or move it to the line that it is about");
            linted.diagnostics.push(problem);
        }
    }
    linted
}

fn allows<'a>(subject: &Subject<'a>, diagnostics: &mut Vec<Diagnostic>) -> Vec<Allow<'a>> {
    let mut allows = Vec::new();
    for (i, comment) in subject.tokens.iter().enumerate().filter(|(_, token)| token.kind == Kind::Comment) {
        let text = comment.text.trim_start_matches('/').trim_start();
        let Some(rest) = text.strip_prefix("lint:") else { continue };
        let mut refuse = |message: String, help: &str| {
            let problem = Diagnostic::warning("L0622", message).at(span_of(comment), "silences nothing").help(help);
            diagnostics.push(problem);
        };
        const FORM: &str = "write `// lint: allow L0606 REASON`";
        let Some(rest) = rest.trim_start().strip_prefix("allow") else {
            refuse("`lint:` is followed by something other than `allow`".into(), FORM);
            continue;
        };
        let mut reason = rest.trim_start();
        let mut codes = Vec::new();
        loop {
            let end = reason.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(reason.len());
            let word = &reason[..end];
            if !is_code(word) {
                break;
            }
            codes.push(word);
            reason = reason[end..].trim_start().trim_start_matches(',').trim_start();
        }
        let unknown = codes.iter().find(|code| !known().any(|known| known == **code));
        if codes.is_empty() {
            refuse("`allow` names no code".into(), FORM);
        } else if let Some(unknown) = unknown {
            let help = suggest::help(unknown, known()).unwrap_or_else(|| "`mlp explain` lists the codes".into());
            refuse(format!("`{unknown}` is the code of no lint and no warning"), &help);
        } else if reason.is_empty() {
            refuse(format!("`{}` is silenced without a reason", codes.join("`, `")), "say why, behind the code");
        } else {
            // Alone on its line, it is about the next line that holds anything.
            let about = if comment.breaks > 0 || i == 0 {
                subject.tokens[i..].iter().find(|token| token.kind != Kind::Comment)
            } else {
                Some(comment)
            };
            let line = line_of(subject.text, about.unwrap_or(comment).start);
            allows.push(Allow { comment: *comment, codes, reason, line });
        }
    }
    allows
}

fn is_code(word: &str) -> bool {
    word.len() == 5
        && word.starts_with(|c: char| c.is_ascii_uppercase())
        && word[1..].bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the codes that can be silenced.
fn known() -> impl Iterator<Item = &'static str> {
    let warnings = codes::ALL.iter().filter(|(_, meaning)| meaning.ends_with("(warning)"));
    let lints = ALL.iter().filter(|(code, _)| !["L0621", "L0622"].contains(code));
    warnings.chain(lints).map(|(code, _)| *code)
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().get(..at).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count()
}
