//! Declarations that were parsed before. While a text is edited, nearly all of its declarations stay as they are and only
//! move.

use std::collections::HashMap;

use super::parse_decl;
use crate::ast::{Decl, DeclKind, File, Moved, Name};
use crate::diagnostic::Diagnostic;
use crate::outline::{self, Chunk, Outline};
use crate::shelf::Shelf;

/// What was parsed, by its text. Texts stay until all of it is dropped.
pub struct Kept<'s> {
    texts: &'s Shelf<String>,
    outlines: &'s Shelf<Outline<'s>>,
    /// The place of a text in `decls`.
    places: HashMap<&'s str, usize>,
    /// The same text may stand in a file more than once.
    decls: Vec<Vec<KeptDecl<'s>>>,
    doc: &'s str,
    n_read: usize,
}

struct KeptDecl<'s> {
    decl: Decl<'s>,
    /// Where it stood.
    start: usize,
}

/// A parsed file, and what of it can be kept.
pub struct Reading<'s> {
    pub file: File<'s>,
    /// Of each declaration: the place of its text, and where it stands.
    places: Vec<Option<(usize, usize)>>,
}

/// So many texts may be there that are no longer read.
const MOST_LEFT: usize = 10_000;

impl<'s> Kept<'s> {
    pub fn new(texts: &'s Shelf<String>, outlines: &'s Shelf<Outline<'s>>) -> Self {
        Self { texts, outlines, places: HashMap::new(), decls: Vec::new(), doc: "", n_read: 0 }
    }

    /// Whether more is kept than is of use, so that beginning anew pays.
    pub fn is_worn(&self) -> bool {
        self.texts.len() > 3 * self.n_read + MOST_LEFT
    }

    /// Parses as [`super::parse_file`] does. Until [`Kept::give_back`], what was kept of the file is gone.
    pub fn parse_file(
        &mut self,
        source: usize,
        text: &str,
        outline: &Outline<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Reading<'s> {
        if self.doc != outline.doc {
            self.doc = self.texts.put(outline.doc.clone());
        }
        self.n_read = outline.chunks.len();
        let mut file = File { doc: self.doc, decls: Vec::with_capacity(self.n_read) };
        let mut places = Vec::with_capacity(self.n_read);
        for (number, chunk) in outline.chunks.iter().enumerate() {
            let (decl, place) = self.read(source, text, (number, chunk), diagnostics);
            file.decls.push(decl);
            places.push(place.map(|place| (place, chunk.start)));
        }
        Reading { file, places }
    }

    pub fn give_back(&mut self, reading: Reading<'s>) {
        for (decl, place) in reading.file.decls.into_iter().zip(reading.places) {
            if let Some((place, start)) = place {
                self.decls[place].push(KeptDecl { decl, start });
            }
        }
    }

    /// Returns the declaration, and the place of its text if it can be kept.
    fn read(
        &mut self,
        source: usize,
        text: &str,
        (number, chunk): (usize, &Chunk<'_>),
        diagnostics: &mut Vec<Diagnostic>,
    ) -> (Decl<'s>, Option<usize>) {
        if chunk.broken {
            return (self.broken(chunk), None);
        }
        let written = &text[chunk.start..chunk.end];
        let known = self.places.get(written).copied();
        if let Some(place) = known
            && let Some(KeptDecl { mut decl, start }) = self.decls[place].pop()
        {
            if start != chunk.start {
                decl.moved(chunk.start.wrapping_sub(start));
            }
            if decl.doc != chunk.doc {
                decl.doc = self.texts.put(chunk.doc.clone());
            }
            return (decl, Some(place));
        }
        let Some((mut decl, copy)) = self.parse(source, written, chunk, diagnostics) else {
            return (self.parse_within(source, text, number, diagnostics), None);
        };
        let place = copy.map(|copy| {
            known.unwrap_or_else(|| {
                self.decls.push(Vec::new());
                self.places.insert(copy, self.decls.len() - 1);
                self.decls.len() - 1
            })
        });
        if let (DeclKind::Call(call), Some(place)) = (&mut decl.kind, place) {
            call.text = place + 1;
        }
        (decl, place)
    }

    /// Parses a declaration by itself. Returns its text if nothing is wrong with it; nothing if by itself it is read in another way.
    fn parse(
        &self,
        source: usize,
        written: &str,
        chunk: &Chunk<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<(Decl<'s>, Option<&'s str>)> {
        let copy = self.texts.put(written.to_owned()).as_str();
        let mut problems = Vec::new();
        let outline = self.outlines.put(outline::cut(source, copy, &mut problems));
        let [alone] = &outline.chunks[..] else { return None };
        if !problems.is_empty() || alone.keyword != chunk.keyword || (alone.start, alone.end) != (0, copy.len()) {
            return None;
        }
        let mut decl = parse_decl(source, outline, alone, &mut problems);
        decl.moved(chunk.start);
        decl.doc = if chunk.doc.is_empty() { "" } else { self.texts.put(chunk.doc.clone()) };
        let copy = problems.is_empty().then_some(copy);
        for problem in &mut problems {
            problem.labels.iter_mut().for_each(|label| label.span.moved(chunk.start));
        }
        diagnostics.extend(problems);
        Some((decl, copy))
    }

    /// Parses a declaration of the whole text.
    fn parse_within(&self, source: usize, text: &str, number: usize, diagnostics: &mut Vec<Diagnostic>) -> Decl<'s> {
        let copy = self.texts.put(text.to_owned());
        let outline = self.outlines.put(outline::cut(source, copy, &mut Vec::new()));
        parse_decl(source, outline, &outline.chunks[number], diagnostics)
    }

    fn broken(&self, chunk: &Chunk<'_>) -> Decl<'s> {
        let put = |text: &str| self.texts.put(text.to_owned()).as_str();
        let name = chunk.name.map(|name| Name { text: put(name.text), span: name.span });
        Decl { doc: put(&chunk.doc), kind: DeclKind::Broken { keyword: put(chunk.keyword), name } }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::parse::parse_file;

    fn read_all(folder: &Path, texts: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => read_all(&path, texts),
                false => texts.extend(fs::read_to_string(path).ok()),
            }
        }
    }

    /// What is wrong, and the whole tree with all places.
    fn fresh(text: &str) -> String {
        let mut problems = Vec::new();
        let outline = outline::cut(0, text, &mut problems);
        let file = parse_file(0, &outline, &mut problems);
        format!("{file:#?} {problems:#?}")
    }

    #[test]
    fn what_is_kept_is_what_would_be_parsed_wherever_it_stands() {
        let mut all = Vec::new();
        read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut all);
        assert!(all.len() > 10);
        let (texts, outlines) = (Shelf::default(), Shelf::default());
        let mut kept = Kept::new(&texts, &outlines);
        for text in &all {
            let moved = format!("// Something stands before it.\n{text}");
            let twice = format!("{text}\n{text}");
            for text in [text, &moved, &twice, text] {
                let mut problems = Vec::new();
                let outline = outline::cut(0, text, &mut problems);
                let mut reading = kept.parse_file(0, text, &outline, &mut problems);
                // The numbers of texts are what only a kept declaration has.
                let calls = reading.file.decls.iter_mut().filter_map(|decl| match &mut decl.kind {
                    DeclKind::Call(call) => Some(&mut call.text),
                    _ => None,
                });
                calls.for_each(|text| *text = 0);
                assert_eq!(format!("{:#?} {problems:#?}", reading.file), fresh(text), "{text}");
                kept.give_back(reading);
            }
        }
    }
}
