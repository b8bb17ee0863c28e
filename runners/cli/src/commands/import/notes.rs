//! What an import has to tell: what is not carried over, and what keeps it from being done at all.

/// Something about a line of `dvc.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// From 1; 0 where it is about no line.
    pub line: usize,
    /// What it is about: a stage, a key.
    pub about: String,
    pub text: String,
}

#[derive(Debug, Default)]
pub struct Notes {
    /// What the pipeline does not do as DVC did, or does although `dvc.yaml` does not say so.
    pub told: Vec<Note>,
    /// Why nothing can be written.
    pub mistakes: Vec<Note>,
}

impl Notes {
    pub fn tell(&mut self, line: usize, about: &str, text: impl Into<String>) {
        let note = Note { line, about: about.to_owned(), text: text.into() };
        if !self.told.contains(&note) {
            self.told.push(note);
        }
    }

    pub fn mistake(&mut self, line: usize, about: &str, text: impl Into<String>) {
        let note = Note { line, about: about.to_owned(), text: text.into() };
        if !self.mistakes.contains(&note) {
            self.mistakes.push(note);
        }
    }
}

impl Note {
    /// Returns the note on one line.
    pub fn line_of(&self, file: &str) -> String {
        let place = if self.line > 0 { format!("{file}:{}: ", self.line) } else { String::new() };
        // A text of the project could hold anything.
        let text: String =
            format!("`{}`: {}", self.about, self.text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{place}{text}")
    }
}
