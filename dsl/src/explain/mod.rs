//! A page for each code: what it means, why it is refused, a wrong example and a right one.
//!
//! The pages are the Markdown files beside this one. Every example is checked by a test.

const FILES: [&str; 7] = [
    include_str!("E01.md"),
    include_str!("E02.md"),
    include_str!("E03.md"),
    include_str!("E04.md"),
    include_str!("E05.md"),
    include_str!("E07.md"),
    include_str!("L06.md"),
];

/// What the examples go on from. A declaration that an example makes itself takes the place of the one here.
pub const CONTEXT: &str = include_str!("context.mlp");

/// What is told about one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    pub code: &'static str,
    /// What it means, in a line.
    pub title: &'static str,
    /// Markdown: paragraphs, then examples in fences of `mlp` or `sh` that say `wrong` or `right`.
    pub text: &'static str,
}

/// One example of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// `mlp` for a piece of a pipeline, `sh` for a command.
    pub language: &'static str,
    pub is_right: bool,
    /// Further words of the fence: arguments of the command line that the example is checked with.
    pub arguments: Vec<&'static str>,
    pub text: &'static str,
}

/// Returns all pages, in order of their codes.
pub fn pages() -> impl Iterator<Item = Page> {
    FILES.iter().flat_map(|file| file.split("\n## ").skip(1)).filter_map(|section| {
        let (heading, text) = section.split_once('\n')?;
        let (code, title) = heading.split_once(' ')?;
        Some(Page { code, title, text: text.trim() })
    })
}

/// Returns the page of a code, in any letter case.
pub fn page(code: &str) -> Option<Page> {
    pages().find(|page| page.code.eq_ignore_ascii_case(code))
}

impl Page {
    /// Returns what stands before the first example.
    pub fn prose(&self) -> &'static str {
        self.text.split("```").next().unwrap_or_default().trim()
    }

    pub fn examples(&self) -> Vec<Example> {
        let fences = self.text.split("```").skip(1).step_by(2);
        fences
            .filter_map(|fence| {
                let (words, text) = fence.split_once('\n')?;
                let mut words = words.split_whitespace();
                let (language, verdict) = (words.next()?, words.next()?);
                Some(Example { language, is_right: verdict == "right", arguments: words.collect(), text })
            })
            .collect()
    }
}
