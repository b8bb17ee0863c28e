//! Reads YAML into a tree that knows where everything stands: settings are written by people, who want to be told where a
//! mistake is. What a value is, serde_yaml says; where it stands, a parser of events. Knows no settings.

use std::collections::HashSet;
use std::ops::Range;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

/// Settings never nest so deep.
const MAX_DEPTH: usize = 16;

/// A value and the bytes it stands at.
#[derive(Debug, Clone, PartialEq)]
pub struct Yaml {
    pub place: Range<usize>,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Its text, and whether it is something else than a string: a number, a bool, nothing.
    Scalar(String, bool),
    List(Vec<Yaml>),
    Map(Vec<(Key, Yaml)>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub place: Range<usize>,
    pub text: String,
}

/// What is wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub place: Range<usize>,
    pub message: String,
}

impl Problem {
    pub fn new(place: &Range<usize>, message: impl Into<String>) -> Self {
        Self { place: place.clone(), message: message.into() }
    }
}

/// Reads a text of one document; `None` if nothing stands in it.
pub fn parse(text: &str) -> Result<Option<Yaml>, Problem> {
    let mut root = read_places(text)?;
    let value: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| {
        let at = error.location().map_or(0, |location| location.index().min(text.len()));
        Problem::new(&(at..at), format!("this is no YAML: {error}"))
    })?;
    if let Some(root) = &mut root {
        root.settle(&value);
    }
    Ok(root)
}

impl Yaml {
    /// Takes over what the values are.
    fn settle(&mut self, value: &serde_yaml::Value) {
        match (&mut self.kind, value) {
            (Kind::Scalar(_, is_other), value) => *is_other = !value.is_string(),
            (Kind::List(items), serde_yaml::Value::Sequence(values)) => {
                items.iter_mut().zip(values).for_each(|(item, value)| item.settle(value));
            }
            (Kind::Map(fields), serde_yaml::Value::Mapping(values)) => {
                fields.iter_mut().zip(values).for_each(|((_, field), (_, value))| field.settle(value));
            }
            _ => {}
        }
    }
}

fn read_places(text: &str) -> Result<Option<Yaml>, Problem> {
    let mut reader =
        Reader { parser: Parser::new_from_str(text.trim_start_matches('\u{feff}')), places: Places::of(text) };
    let mut root = None;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(root),
            Event::StreamStart | Event::Nothing | Event::DocumentEnd => {}
            Event::DocumentStart(_) if root.is_none() => {
                let (event, span) = reader.next()?;
                root = Some(reader.value(event, span, 0)?);
            }
            _ => return Err(Problem::new(&reader.places.of_span(span), "a second document begins here")),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    places: Places<'a>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let at = self.places.of_marker(*error.marker());
                Err(Problem::new(&(at..at), format!("this is no YAML: {}", error.info())))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn value(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Yaml, Problem> {
        let mut place = self.places.of_span(span);
        let refuse = |what: &str| Err(Problem::new(&place, format!("{what} has no meaning here")));
        let kind = match event {
            _ if depth > MAX_DEPTH => return Err(Problem::new(&place, "settings do not nest so deep")),
            Event::Alias(_) => return refuse("an alias"),
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _)
                if anchor > 0 =>
            {
                return refuse("an anchor");
            }
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                return refuse("a tag");
            }
            Event::Scalar(text, style, ..) => Kind::Scalar(text.into_owned(), style == ScalarStyle::Plain),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if event == Event::SequenceEnd {
                        place.end = self.places.end_of(place.start, span);
                        break Kind::List(items);
                    }
                    items.push(self.value(event, span, depth + 1)?);
                }
            }
            Event::MappingStart(..) => self.map(&mut place, depth)?,
            _ => return refuse("this"),
        };
        Ok(Yaml { place, kind })
    }

    fn map(&mut self, place: &mut Range<usize>, depth: usize) -> Result<Kind, Problem> {
        let mut fields = Vec::new();
        let mut known = HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                place.end = self.places.end_of(place.start, span);
                return Ok(Kind::Map(fields));
            }
            let key = self.value(event, span, depth + 1)?;
            let Kind::Scalar(text, _) = key.kind else {
                return Err(Problem::new(&key.place, "a key is a single word"));
            };
            if !known.insert(text.clone()) {
                return Err(Problem::new(&key.place, format!("`{text}` stands here a second time")));
            }
            let (event, span) = self.next()?;
            let value = self.value(event, span, depth + 1)?;
            fields.push((Key { place: key.place, text }, value));
        }
    }
}

/// The bytes at which lines begin: the parser counts lines and characters.
struct Places<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    fn of(text: &'a str) -> Self {
        let first = text.len() - text.trim_start_matches('\u{feff}').len();
        let lines = [first].into_iter().chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, lines }
    }

    fn of_marker(&self, marker: Marker) -> usize {
        let start = self.lines.get(marker.line().saturating_sub(1)).copied().unwrap_or(self.text.len());
        let line = self.text[start..].split('\n').next().unwrap_or_default();
        start + line.char_indices().nth(marker.col()).map_or(line.len(), |(at, _)| at)
    }

    /// Returns where what begins at `start` ends: the parser counts blanks behind a closing bracket in.
    fn end_of(&self, start: usize, last: Span) -> usize {
        let end = self.of_marker(last.end).max(start);
        start + self.text[start..end].trim_end().len()
    }

    fn of_span(&self, span: Span) -> Range<usize> {
        let start = self.of_marker(span.start);
        start..self.of_marker(span.end).max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<'t>(text: &'t str, yaml: &Yaml) -> &'t str {
        &text[yaml.place.clone()]
    }

    #[test]
    fn everything_knows_where_it_stands() {
        let text = "\u{feff}# größe\r\njobs: 3   # many\r\nprofiles:\r\n  öl:\r\n    params: { lr: 0.01, name: \"a b\", sizes: [64, 'x'] }\r\n    none:\r\n";
        let root = parse(text).unwrap().unwrap();
        let Kind::Map(fields) = &root.kind else { panic!("{root:?}") };
        assert_eq!((fields[0].0.text.as_str(), written(text, &fields[0].1)), ("jobs", "3"));
        assert_eq!(fields[0].1.kind, Kind::Scalar("3".into(), true));
        let Kind::Map(profiles) = &fields[1].1.kind else { panic!("{root:?}") };
        assert_eq!(&text[profiles[0].0.place.clone()], "öl");
        let Kind::Map(profile) = &profiles[0].1.kind else { panic!("{root:?}") };
        let Kind::Map(params) = &profile[0].1.kind else { panic!("{root:?}") };
        let shown: Vec<_> =
            params.iter().map(|(key, value)| (&text[key.place.clone()], written(text, value))).collect();
        assert_eq!(shown, [("lr", "0.01"), ("name", "\"a b\""), ("sizes", "[64, 'x']")]);
        assert_eq!(params[1].1.kind, Kind::Scalar("a b".into(), false));
        assert_eq!((&profile[1].0.text[..], &profile[1].1.kind), ("none", &Kind::Scalar(String::new(), true)));
    }

    #[test]
    fn nothing_is_no_value() {
        for text in ["", "\n\n", "# only a comment\n", "\u{feff}"] {
            assert_eq!(parse(text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn what_settings_do_not_have_is_refused_with_its_place() {
        let deep = "[".repeat(100_000);
        for (text, at, said) in [
            ("a: 1\nb: 2\na: 3\n", 10, "`a` stands here a second time"),
            ("a: &x 1\nb: *x\n", 3, "an anchor"),
            ("a: !!str 1\n", 3, "a tag"),
            ("a: 1\n---\nb: 2\n", 5, "a second document"),
            ("? [a]\n: 1\n", 2, "a key is a single word"),
            ("a: {b: 1\n", 9, "no YAML"),
            (deep.as_str(), 0, ""),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.message.contains(said), "{text}: {problem:?}");
            assert!(said.is_empty() || problem.place.start.abs_diff(at) <= 6, "{text}: {problem:?}");
        }
    }
}
