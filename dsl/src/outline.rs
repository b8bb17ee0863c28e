//! Cuts a file into declarations, so that a mistake in one of them cannot hide those of the others.
//!
//! Declarations that hold others (a `def`, a `for`) are cut in turn. One pass over the bytes, aware of comments, strings and brackets and of nothing else. It finds what a grammar reports
//! badly: strings and brackets that are not closed, and nesting so deep that a recursive parser must not see it.

use mlp_model::Span;

use crate::ast::Name;
use crate::diagnostic::Diagnostic;
use crate::suggest;

/// More levels of brackets or operators than this are refused.
pub const MAX_DEPTH: usize = 128;

/// The words that begin a declaration of a file.
pub const DECLARING: [&str; 13] =
    ["pipeline", "use", "param", "let", "schema", "def", "source", "step", "effect", "for", "gate", "release", "test"];

/// The words that will begin declarations of later versions.
pub const LATER: [&str; 11] =
    ["each", "on", "alert", "deploy", "policy", "monitor", "features", "sweep", "backtest", "report", "import"];

/// Words that go on with a declaration at the beginning of a line.
const CONTINUING: [&str; 9] = ["with", "when", "in", "and", "or", "not", "if", "then", "else"];

/// Returns the words that begin a declaration within a `keyword`; none where nothing is declared within.
pub fn declaring_within(keyword: &str) -> &'static [&'static str] {
    match keyword {
        "def" => &["step", "for", "result"],
        "for" => &["source", "step", "for"],
        "test" => &["schema", "given", "param", "source", "step", "expect"],
        _ => &[],
    }
}

#[derive(Debug, Default)]
pub struct Outline<'a> {
    /// The `//!` lines.
    pub doc: String,
    pub chunks: Vec<Chunk<'a>>,
    /// The text with a space for every byte of comments, tabs and line breaks; strings stand as they are.
    pub plain: String,
}

/// The text of one declaration.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// One of [`DECLARING`], or of [`declaring_within`] another.
    pub keyword: &'a str,
    pub name: Option<Name<'a>>,
    pub doc: String,
    pub start: usize,
    pub end: usize,
    /// The declarations it holds.
    pub body: Option<Body<'a>>,
    /// A mistake in it is reported already: not to be parsed.
    pub broken: bool,
}

/// What stands between the braces of a declaration that holds others.
#[derive(Debug)]
pub struct Body<'a> {
    pub chunks: Vec<Chunk<'a>>,
    /// Of the opening brace.
    pub start: usize,
    /// Behind the closing one.
    pub end: usize,
}

pub fn cut<'a>(source: usize, text: &'a str, diagnostics: &mut Vec<Diagnostic>) -> Outline<'a> {
    let start = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let mut plain = text.as_bytes().to_vec();
    plain[..start].fill(b' ');
    let mut cutter = Cutter {
        source,
        text,
        bytes: text.as_bytes(),
        at: start,
        line_start: start,
        fresh_line: true,
        open: Vec::new(),
        blocks: Vec::new(),
        current: None,
        doc: Vec::new(),
        outline: Outline::default(),
        diagnostics,
    };
    while cutter.at < cutter.bytes.len() {
        let start = cutter.at;
        if cutter.token() {
            plain[start..cutter.at].fill(b' ');
        }
    }
    cutter.end_blocks();
    cutter.refuse_dangling_doc();
    // Comments end where characters do, so that the rest is text as before.
    cutter.outline.plain = String::from_utf8(plain).unwrap_or_else(|_| text.to_owned());
    cutter.outline
}

struct Cutter<'a, 'd> {
    source: usize,
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    line_start: usize,
    /// Only blanks have been seen on this line.
    fresh_line: bool,
    /// Open brackets with their places.
    open: Vec<(u8, usize)>,
    /// The declarations within which we are.
    blocks: Vec<Block<'a>>,
    current: Option<Open<'a>>,
    /// `///` lines that wait for their declaration: place and text.
    doc: Vec<(Span, &'a str)>,
    outline: Outline<'a>,
    diagnostics: &'d mut Vec<Diagnostic>,
}

struct Open<'a> {
    chunk: Chunk<'a>,
    /// It does not begin with a declaring word, so nothing becomes of it.
    is_junk: bool,
    /// `if` nests without brackets.
    n_ifs: usize,
}

/// A declaration whose body is open.
struct Block<'a> {
    owner: Open<'a>,
    body: Body<'a>,
    /// How many brackets are open in its body, outside of any declaration.
    depth: usize,
}

impl<'a> Cutter<'a, '_> {
    /// Reads one token; returns whether it is a blank or a comment.
    fn token(&mut self) -> bool {
        let start = self.at;
        match self.bytes[start] {
            b'\n' => {
                self.at += 1;
                self.line_start = self.at;
                self.fresh_line = true;
                true
            }
            b' ' | b'\t' | b'\r' => {
                self.at += 1;
                true
            }
            b'/' if self.bytes.get(start + 1) == Some(&b'/') => {
                self.comment();
                true
            }
            byte => {
                let is_fresh = std::mem::replace(&mut self.fresh_line, false);
                if byte.is_ascii_alphabetic() || byte == b'_' {
                    self.word(is_fresh);
                } else {
                    // What closes a body is no part of what stands in it.
                    let ends_block = self.is_between_declarations() && matches!(byte, b')' | b']' | b'}');
                    if !ends_block || self.blocks.is_empty() {
                        self.join(start);
                    }
                    match byte {
                        b'"' => self.string(),
                        b'(' | b'[' | b'{' => self.bracket_opens(byte),
                        b')' | b']' | b'}' => self.bracket_closes(byte),
                        _ => self.at += self.text[start..].chars().next().map_or(1, char::len_utf8),
                    }
                }
                if let Some(open) = &mut self.current {
                    open.chunk.end = self.at;
                }
                false
            }
        }
    }

    fn comment(&mut self) {
        let start = self.at;
        let end = self.bytes[start..].iter().position(|b| *b == b'\n').map_or(self.bytes.len(), |n| start + n);
        self.at = end;
        let comment = &self.text[start..end];
        if !self.fresh_line || !self.is_between_declarations() {
            return;
        }
        if let Some(line) = comment.strip_prefix("//!") {
            if self.current.is_some() || !self.blocks.is_empty() {
                let problem = Diagnostic::warning("E0110", "`//!` describes the pipeline and stands before it")
                    .at(self.span(start, end), "ignored here")
                    .help("move it to the top of the file, or write `///` above a declaration");
                self.diagnostics.push(problem);
            } else {
                push_line(&mut self.outline.doc, line);
            }
        } else if comment.starts_with("///") && !comment.starts_with("////") {
            self.doc.push((self.span(start, end), &comment[3..]));
        }
    }

    /// Handles a word: perhaps it begins a declaration.
    fn word(&mut self, is_fresh: bool) {
        let start = self.at;
        let end = word_end(self.bytes, start);
        let word = &self.text[start..end];
        self.at = end;
        let in_first_column = start == self.line_start;
        let ends_all = in_first_column && DECLARING.contains(&word) && self.name_after(end).is_some();
        let is_between = self.is_between_declarations();
        let is_within = !self.blocks.is_empty() && is_between && !ends_all;
        let known = if is_within { self.words() } else { &DECLARING[..] };
        let is_declaring = is_fresh && known.contains(&word);
        let begins = is_fresh
            && if is_within {
                is_declaring || DECLARING.contains(&word) || LATER.contains(&word) && self.something_follows(end)
            } else if is_between {
                is_declaring
                    || (LATER.contains(&word) && self.something_follows(end))
                    || (in_first_column && !CONTINUING.contains(&word))
            } else {
                ends_all
            };
        if !begins {
            self.join(start);
            if word == "if"
                && let Some(open) = &mut self.current
            {
                open.n_ifs += 1;
                if open.n_ifs == MAX_DEPTH + 1 {
                    self.broken(too_deep(self.span(start, end)));
                }
            }
            return;
        }
        if ends_all {
            self.end_blocks();
        } else {
            self.end_chunk();
        }
        let mut chunk = Chunk { keyword: word, name: None, doc: String::new(), start, end, body: None, broken: false };
        for (_, line) in self.doc.drain(..) {
            push_line(&mut chunk.doc, line);
        }
        if is_declaring {
            // What follows `for` is its variable; its name stands behind `as`.
            chunk.name = self.name_after(end).filter(|_| !["for", "test", "expect"].contains(&word));
        } else {
            self.refuse_word(word, self.span(start, end));
        }
        self.current = Some(Open { chunk, is_junk: !is_declaring, n_ifs: 0 });
    }

    /// Adds a token at `start` to the declaration at hand; without one, it is out of place.
    fn join(&mut self, start: usize) {
        if self.is_between_declarations() {
            self.refuse_dangling_doc();
        }
        if self.current.is_some() {
            return;
        }
        let byte = self.bytes[start];
        let end = if byte.is_ascii_alphabetic() || byte == b'_' {
            word_end(self.bytes, start)
        } else {
            start + self.text[start..].chars().next().map_or(1, char::len_utf8)
        };
        let word = &self.text[start..end];
        self.refuse_word(word, self.span(start, end));
        let chunk = Chunk { keyword: word, name: None, doc: String::new(), start, end, body: None, broken: true };
        self.current = Some(Open { chunk, is_junk: true, n_ifs: 0 });
    }

    /// Returns whether only brackets that hold declarations are open.
    fn is_between_declarations(&self) -> bool {
        self.open.len() == self.blocks.last().map_or(0, |block| block.depth)
    }

    /// Returns the words that begin a declaration here.
    fn words(&self) -> &'static [&'static str] {
        self.blocks.last().map_or(&DECLARING, |block| declaring_within(block.owner.chunk.keyword))
    }

    fn refuse_word(&mut self, word: &str, span: Span) {
        let within = self.blocks.last().map(|block| block.owner.chunk.keyword);
        let problem = if let Some(within) = within.filter(|_| DECLARING.contains(&word)) {
            let expected = suggest::listed(self.words().iter().copied(), "or");
            let article = if word == "effect" { "an" } else { "a" };
            Diagnostic::error("E0107", format!("a `{within}` does not declare {article} `{word}`"))
                .at(span, format!("expected {expected}"))
        } else if LATER.contains(&word) {
            Diagnostic::error("E0108", format!("`{word}` is reserved for a later version of the language"))
                .at(span, "begins no declaration yet")
                .maybe_help((word == "sweep").then(|| {
                    "a sweep is a loop over several lists: `for lr in [..], width in [..] as tried { .. }`".to_owned()
                }))
        } else {
            let expected = suggest::listed(self.words().iter().copied(), "or");
            Diagnostic::error("E0107", format!("`{word}` does not begin a declaration"))
                .at(span, format!("expected {expected}"))
                .maybe_help(suggest::help(word, self.words().iter().copied()))
        };
        self.diagnostics.push(problem);
    }

    fn string(&mut self) {
        let start = self.at;
        if self.text[start..].starts_with("\"\"\"") {
            if let Some(n) = self.text[start + 3..].find("\"\"\"") {
                self.at = start + 3 + n + 3;
            } else {
                self.at = self.next_declaration(start);
                let problem = Diagnostic::error("E0104", "a string is not closed: `\"\"\"` is missing")
                    .at(self.span(start, start + 3), "opened here");
                self.broken(problem);
            }
            // A line break within the string begins a new line of the file.
            if let Some(n) = self.text[start..self.at].rfind('\n') {
                self.line_start = start + n + 1;
            }
            return;
        }
        let mut end = start + 1;
        loop {
            match self.bytes.get(end) {
                Some(b'"') => {
                    self.at = end + 1;
                    return;
                }
                Some(b'\\') if self.bytes.get(end + 1).is_some_and(|b| *b != b'\n') => end += 2,
                Some(b'\n') | None => break,
                Some(_) => end += 1,
            }
        }
        let end = end.min(self.bytes.len());
        self.at = end;
        let visible = start + self.text[start..end].trim_end().len();
        let problem = Diagnostic::error("E0104", "a string is not closed: `\"` is missing")
            .at(self.span(start, visible.max(start + 1)), "the line ends inside the string")
            .help("a string over several lines is written `\"\"\"..\"\"\"`");
        self.broken(problem);
    }

    fn bracket_opens(&mut self, bracket: u8) {
        let holds = |open: &mut Open<'a>| open.chunk.body.is_none() && !declaring_within(open.chunk.keyword).is_empty();
        let owner = (bracket == b'{' && self.is_between_declarations()).then(|| self.current.take_if(holds)).flatten();
        if let Some(owner) = owner {
            let body = Body { chunks: Vec::new(), start: self.at, end: self.at + 1 };
            self.blocks.push(Block { owner, body, depth: self.open.len() + 1 });
            // A short body may stand on one line: `{ result = data }`.
            self.fresh_line = true;
        }
        self.open.push((bracket, self.at));
        if self.open.len() == MAX_DEPTH + 1 {
            self.broken(too_deep(self.span(self.at, self.at + 1)));
        }
        self.at += 1;
    }

    fn bracket_closes(&mut self, bracket: u8) {
        let here = self.span(self.at, self.at + 1);
        self.at += 1;
        if !self.blocks.is_empty() && self.is_between_declarations() {
            self.end_block();
        }
        match self.open.pop() {
            Some((open, _)) if closing(open) == bracket => {}
            Some((open, place)) => {
                let (open, close) = (open as char, bracket as char);
                let problem = Diagnostic::error("E0105", format!("`{close}` does not close `{open}`"))
                    .at(here, format!("expected `{}`", closing(open as u8) as char))
                    .and(self.span(place, place + 1), "opened here");
                self.broken(problem);
            }
            None => {
                let problem =
                    Diagnostic::error("E0105", format!("`{}` closes nothing", bracket as char)).at(here, "not open");
                self.broken(problem);
            }
        }
    }

    fn end_chunk(&mut self) {
        if let Some(open) = self.current.take()
            && !open.is_junk
        {
            let chunks = self.blocks.last_mut().map_or(&mut self.outline.chunks, |block| &mut block.body.chunks);
            chunks.push(open.chunk);
        }
    }

    /// Ends the body we are in: its declaration goes on.
    fn end_block(&mut self) {
        self.refuse_dangling_doc();
        self.end_chunk();
        if let Some(Block { mut owner, mut body, .. }) = self.blocks.pop() {
            body.end = self.at;
            owner.chunk.body = Some(body);
            self.current = Some(owner);
        }
    }

    /// Ends all that is open, whatever is missing.
    fn end_blocks(&mut self) {
        if let Some((bracket, place)) = self.open.last().copied() {
            let problem = Diagnostic::error("E0105", format!("`{}` is never closed", bracket as char))
                .at(self.span(place, place + 1), format!("`{}` is missing", closing(bracket) as char));
            if self.current.is_none() {
                self.end_block();
            }
            self.broken(problem);
            self.open.clear();
        }
        while !self.blocks.is_empty() {
            self.end_block();
            if let Some(open) = &mut self.current {
                open.chunk.broken = true;
            }
        }
        self.end_chunk();
    }

    /// Reports the first lexical mistake of a declaration; further ones are likely to follow from it.
    fn broken(&mut self, problem: Diagnostic) {
        if let Some(open) = &mut self.current
            && !std::mem::replace(&mut open.chunk.broken, true)
            && !open.is_junk
        {
            self.diagnostics.push(problem);
        }
    }

    fn refuse_dangling_doc(&mut self) {
        if let (Some((first, _)), Some((last, _))) = (self.doc.first(), self.doc.last()) {
            let span = Span { end: last.end, ..*first };
            let problem = Diagnostic::warning("E0110", "`///` documents nothing")
                .at(span, "no declaration follows")
                .help("write `//` for a comment");
            self.diagnostics.push(problem);
            self.doc.clear();
        }
    }

    /// Returns where the next line begins that can only be a declaration, or the end of the text.
    fn next_declaration(&self, from: usize) -> usize {
        let mut line = from;
        while let Some(n) = self.text[line..].find('\n') {
            line += n + 1;
            let end = word_end(self.bytes, line);
            if DECLARING.contains(&&self.text[line..end]) && self.name_after(end).is_some() {
                return line - 1;
            }
        }
        self.bytes.len()
    }

    fn name_after(&self, end: usize) -> Option<Name<'a>> {
        let start = self.skip_blanks(end)?;
        let is_name = start > end && (self.bytes[start].is_ascii_alphabetic() || self.bytes[start] == b'_');
        let end = word_end(self.bytes, start);
        is_name.then(|| Name { text: &self.text[start..end], span: self.span(start, end) })
    }

    fn something_follows(&self, end: usize) -> bool {
        self.skip_blanks(end).is_some_and(|next| {
            next > end && (self.bytes[next].is_ascii_alphabetic() || matches!(self.bytes[next], b'_' | b'"'))
        })
    }

    fn skip_blanks(&self, from: usize) -> Option<usize> {
        (from..self.bytes.len()).find(|i| !matches!(self.bytes[*i], b' ' | b'\t'))
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span { source: self.source, start, end }
    }
}

pub fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::error("E0106", format!("nested more than {MAX_DEPTH} levels deep"))
        .at(span, "this level is one too many")
        .help("split it up: give a part of it a name of its own")
}

fn closing(bracket: u8) -> u8 {
    match bracket {
        b'(' => b')',
        b'[' => b']',
        _ => b'}',
    }
}

fn word_end(bytes: &[u8], start: usize) -> usize {
    (start..bytes.len()).find(|i| !bytes[*i].is_ascii_alphanumeric() && bytes[*i] != b'_').unwrap_or(bytes.len())
}

fn push_line(doc: &mut String, line: &str) {
    if !doc.is_empty() {
        doc.push('\n');
    }
    doc.push_str(line.strip_prefix(' ').unwrap_or(line).trim_end());
}
