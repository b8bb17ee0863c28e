//! The picture as text. Whatever comes from a user is escaped here.

use std::fmt::Write;

use super::shown::{Kind, Shown};

/// Longer names are cut; the whole name stands in the tooltip.
const MOST_LETTERS: usize = 40;
/// Of a letter of the fixed-width fonts below, by the size of the font.
const LETTER: f64 = 0.61;
const NAME_SIZE: f64 = 13.0;
const SMALL_SIZE: f64 = 11.0;

/// The style of every picture, for a light and a dark background.
pub const STYLE: &str = "\
.mlp-graph{--ink:#1f2933;--soft:#5c6b7a;--line:#8494a4;--paper:#fff;--source:#e3effb;--source-line:#2b6cb0;\
--step:#f7f9fb;--step-line:#5c6b7a;--gate:#fff3d6;--gate-line:#a36a00;--release:#e2f5e8;--release-line:#23804a;\
max-width:100%;height:auto;font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}\
.mlp-graph text{text-anchor:middle;fill:var(--ink);font-size:13px;font-weight:600}\
.mlp-graph .small{fill:var(--soft);font-size:11px;font-weight:400}\
.mlp-graph .what{stroke:var(--paper);stroke-width:4px;paint-order:stroke;stroke-linejoin:round}\
.mlp-graph .arrow{fill:none;stroke:var(--line);stroke-width:1.4}\
.mlp-graph .head{fill:var(--line)}\
.mlp-graph .shape{stroke-width:1.4}\
.mlp-graph .source .shape{fill:var(--source);stroke:var(--source-line)}\
.mlp-graph .step .shape{fill:var(--step);stroke:var(--step-line)}\
.mlp-graph .gate .shape{fill:var(--gate);stroke:var(--gate-line)}\
.mlp-graph .release .shape{fill:var(--release);stroke:var(--release-line)}\
.mlp-graph .open .shape{stroke-dasharray:5 3}\
.mlp-graph .skipped{opacity:.5}\
.mlp-graph a:hover .shape,.mlp-graph a:focus .shape{stroke-width:2.6}\
@media(prefers-color-scheme:dark){.mlp-graph{--ink:#e6edf3;--soft:#a3b1bf;--line:#7d8b99;--paper:#12171c;\
--source:#13293f;--source-line:#6aa9e9;--step:#1c242c;--step-line:#8796a5;--gate:#372a0b;--gate-line:#dba63c;\
--release:#12301e;--release-line:#58b97c}}";

pub struct Drawing<'g> {
    pub name: &'g str,
    pub width: f64,
    pub height: f64,
    pub boxes: Vec<Box<'g>>,
    pub routes: Vec<Route>,
    pub labels: Vec<Lane<'g>>,
}

pub struct Box<'g> {
    pub shown: &'g Shown,
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
    pub link: Option<String>,
}

/// An arrow: from one box, through gaps between others, to another one.
pub struct Route {
    /// A place, and from where to where it leads straight down.
    pub start: (f64, f64, f64),
    /// A place, and from where to where it is passed straight down.
    pub bends: Vec<(f64, f64, f64)>,
    pub end: (f64, f64),
}

/// The name of an output, where it leaves its box.
pub struct Lane<'g> {
    pub what: &'g str,
    pub x: f64,
    pub y: f64,
}

impl Shown {
    pub fn second_line(&self) -> String {
        let op = if self.op.is_empty() { self.kind.word() } else { &self.op };
        match self.n_nodes {
            Some(1) => op.to_owned(),
            Some(n) => format!("{op} × {n}"),
            None => format!("{op} × ?"),
        }
    }

    fn is_stack(&self) -> bool {
        self.n_nodes != Some(1)
    }
}

impl Drawing<'_> {
    pub fn to_svg(&self) -> String {
        let (width, height) = (self.width.ceil(), self.height.ceil());
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"mlp-graph\" role=\"img\" width=\"{width}\" \
             height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n<title>pipeline {}</title>\n<style>{STYLE}</style>\n",
            escaped(self.name)
        );
        for route in &self.routes {
            let _ = writeln!(svg, "<path class=\"arrow\" d=\"{}\"/>", route.path());
            let (x, y) = route.end;
            let (left, right, top) = (num(x - 3.5), num(x + 3.5), num(y - 7.0));
            let _ = writeln!(svg, "<path class=\"head\" d=\"M{left} {top}L{right} {top}L{} {}z\"/>", num(x), num(y));
        }
        for label in &self.labels {
            let (x, y, what) = (num(label.x), num(label.y), escaped(&cut(label.what)));
            let _ = writeln!(svg, "<text class=\"small what\" x=\"{x}\" y=\"{y}\">{what}</text>");
        }
        self.boxes.iter().for_each(|one| one.write(&mut svg));
        svg.push_str("</svg>\n");
        svg
    }
}

impl Route {
    fn path(&self) -> String {
        let (mut x, from, mut y) = self.start;
        let mut path = format!("M{} {}", num(x), num(from));
        if y > from {
            let _ = write!(path, "V{}", num(y));
        }
        let mut curve = |to_x: f64, to_y: f64, straight_to: f64| {
            let middle = num((y + to_y) / 2.0);
            let _ = write!(path, "C{} {middle} {} {middle} {} {}", num(x), num(to_x), num(to_x), num(to_y));
            if straight_to > to_y {
                let _ = write!(path, "V{}", num(straight_to));
            }
            (x, y) = (to_x, straight_to);
        };
        for (bend, from, to) in &self.bends {
            curve(*bend, *from, *to);
        }
        // Up to where the arrow's head begins.
        curve(self.end.0, self.end.1 - 6.0, self.end.1 - 6.0);
        path
    }
}

impl Box<'_> {
    fn write(&self, svg: &mut String) {
        let shown = self.shown;
        let mut classes = shown.kind.word().to_owned();
        if shown.n_nodes.is_none() {
            classes.push_str(" open");
        }
        if shown.is_skipped {
            classes.push_str(" skipped");
        }
        let mut title = format!("{} {}", shown.kind.word(), shown.name);
        for remark in &shown.remarks {
            title.push('\n');
            title.push_str(remark);
        }
        if let Some(link) = &self.link {
            let _ = write!(svg, "<a href=\"{}\">", escaped(link));
        }
        let _ = write!(svg, "<g class=\"{classes}\"><title>{}</title>", escaped(&title));
        if shown.is_stack() {
            svg.push_str(&self.shape(6.0));
            svg.push_str(&self.shape(3.0));
        }
        svg.push_str(&self.shape(0.0));
        let middle = num(self.x + self.width / 2.0);
        let (first, second) = (num(self.y + 19.0), num(self.y + 34.0));
        let (name, op) = (escaped(&cut(&shown.name)), escaped(&cut(&shown.second_line())));
        let _ = write!(svg, "<text x=\"{middle}\" y=\"{first}\">{name}</text>");
        let _ = write!(svg, "<text class=\"small\" x=\"{middle}\" y=\"{second}\">{op}</text></g>");
        svg.push_str(if self.link.is_some() { "</a>\n" } else { "\n" });
    }

    /// Returns the outline, moved to the lower right by `by`.
    fn shape(&self, by: f64) -> String {
        let (x, y, width, height) = (self.x + by, self.y + by, self.width, self.height);
        if self.shown.kind == Kind::Gate {
            let (middle, notch) = (num(y + height / 2.0), 12.0);
            let (left, right, top, bottom) = (num(x + notch), num(x + width - notch), num(y), num(y + height));
            return format!(
                "<path class=\"shape\" d=\"M{} {middle}L{left} {top}L{right} {top}L{} {middle}L{right} {bottom}L{left} {bottom}z\"/>",
                num(x),
                num(x + width)
            );
        }
        let round = match self.shown.kind {
            Kind::Source => height / 2.0,
            Kind::Release | Kind::Effect => 14.0,
            Kind::Step | Kind::Gate => 4.0,
        };
        format!(
            "<rect class=\"shape\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\"/>",
            num(x),
            num(y),
            num(width),
            num(height),
            num(round)
        )
    }
}

pub fn name_width(text: &str) -> f64 {
    width(text) * NAME_SIZE
}

pub fn small_width(text: &str) -> f64 {
    width(text) * SMALL_SIZE
}

/// Returns how wide a text is at size 1. Letters of East Asia take the room of two.
fn width(text: &str) -> f64 {
    cut(text).chars().map(|letter| if u32::from(letter) < 0x1100 { LETTER } else { 2.0 * LETTER }).sum()
}

/// Cuts a long text in its middle: both ends of a name tell something.
fn cut(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= MOST_LETTERS {
        return text.to_owned();
    }
    let half = MOST_LETTERS / 2;
    let (head, tail) = (&letters[..half], &letters[letters.len() - half + 1..]);
    head.iter().chain(&['…']).chain(tail).collect()
}

/// Writes a number with one digit behind the point at most.
fn num(x: f64) -> String {
    let tenths = (x * 10.0).round() as i64;
    let sign = if tenths < 0 { "-" } else { "" };
    match (tenths.abs() / 10, tenths.abs() % 10) {
        (whole, 0) => format!("{sign}{whole}"),
        (whole, tenth) => format!("{sign}{whole}.{tenth}"),
    }
}

/// Writes a text for XML and HTML, also within quotes. What XML cannot hold becomes U+FFFD.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(letter),
            '\u{0}'..='\u{1f}' | '\u{7f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_names_is_no_markup() {
        assert_eq!(escaped("a<b>&\"c'\u{1}\u{0}\n"), "a&lt;b&gt;&amp;&quot;c&#39;\u{fffd}\u{fffd}\n");
    }

    #[test]
    fn long_names_lose_their_middle() {
        let long: String = ('a'..='z').cycle().take(100).collect();
        assert_eq!(cut(&long).chars().count(), MOST_LETTERS);
        assert_eq!(cut("short"), "short");
        assert!(cut(&long).starts_with("abc") && cut(&long).contains('…') && long.ends_with(&cut(&long)[30..]));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            (num(12.0), num(12.04), num(12.25), num(-0.04), num(-1.5)),
            ("12".into(), "12".into(), "12.3".into(), "0".into(), "-1.5".into())
        );
    }
}
