//! Keeps the values of secrets out of what a step prints and of what is said of it. Unaware of where secrets come from.

use std::sync::Arc;

use mlp_model::StepError;

/// What stands in the place of a secret.
const MASK: &[u8] = b"***";

/// Lines of a secret that are looked for by themselves have at least so many bytes: shorter ones stand everywhere.
const MIN_LINE: usize = 8;

/// A beginning of a secret of so many bytes at the end of all output is masked, too.
const MIN_BEGINNING: usize = 3;

/// The values to be masked.
#[derive(Debug, Clone, Default)]
pub struct Mask {
    /// The longest first, so that none is taken for a part of itself.
    secrets: Arc<Vec<Vec<u8>>>,
}

impl Mask {
    /// Of a secret of several lines, such as a key, each line is a secret as well.
    pub fn of<'s>(values: impl IntoIterator<Item = &'s [u8]>) -> Self {
        let mut secrets = Vec::new();
        for value in values {
            let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            secrets.extend(lines.filter(|line| line.len() >= MIN_LINE).map(<[u8]>::to_vec));
            secrets.push(value.to_vec());
        }
        secrets.retain(|secret| !secret.is_empty());
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self { secrets: Arc::new(secrets) }
    }

    pub fn text(&self, text: &str) -> String {
        let mut stream = self.stream();
        let mut masked = stream.pass(text.as_bytes());
        masked.extend(stream.end());
        String::from_utf8_lossy(&masked).into_owned()
    }

    /// Masks all that an error says.
    pub fn error(&self, error: StepError) -> StepError {
        if self.secrets.is_empty() {
            return error;
        }
        StepError {
            message: self.text(&error.message),
            detail: error.detail.iter().map(|line| self.text(line)).collect(),
            help: error.help.as_deref().map(|help| self.text(help)),
            ..error
        }
    }

    /// Returns what masks bytes as they come.
    pub fn stream(&self) -> Stream {
        Stream { mask: self.clone(), held: Vec::new() }
    }
}

/// Masks a stream of bytes, wherever it is cut. Holds back what may be the beginning of a secret.
#[derive(Debug)]
pub struct Stream {
    mask: Mask,
    held: Vec<u8>,
}

enum Found {
    /// A secret of so many bytes.
    Whole(usize),
    /// Perhaps: more has to come.
    Beginning,
    Nothing,
}

impl Stream {
    /// Takes bytes in and returns those that can go on.
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.mask.secrets.is_empty() {
            return bytes.to_vec();
        }
        self.held.extend_from_slice(bytes);
        let (mut out, mut at) = (Vec::with_capacity(self.held.len()), 0);
        while at < self.held.len() {
            match self.find(at) {
                Found::Whole(n_bytes) => {
                    out.extend_from_slice(MASK);
                    at += n_bytes;
                }
                Found::Beginning => break,
                Found::Nothing => {
                    out.push(self.held[at]);
                    at += 1;
                }
            }
        }
        self.held.drain(..at);
        out
    }

    /// Returns what was held back, once nothing follows any more.
    pub fn end(&mut self) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), 0);
        while at < self.held.len() {
            let rest = &self.held[at..];
            if let Some(secret) = self.mask.secrets.iter().find(|secret| rest.starts_with(secret)) {
                out.extend_from_slice(MASK);
                at += secret.len();
            } else if rest.len() >= MIN_BEGINNING && self.mask.secrets.iter().any(|secret| secret.starts_with(rest)) {
                out.extend_from_slice(MASK);
                at = self.held.len();
            } else {
                out.push(self.held[at]);
                at += 1;
            }
        }
        self.held.clear();
        out
    }

    fn find(&self, at: usize) -> Found {
        let rest = &self.held[at..];
        for secret in self.mask.secrets.iter() {
            if rest.starts_with(secret) {
                return Found::Whole(secret.len());
            }
            if secret.starts_with(rest) {
                return Found::Beginning;
            }
        }
        Found::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlp_model::ErrorClass;

    fn mask(secrets: &[&str]) -> Mask {
        Mask::of(secrets.iter().map(|secret| secret.as_bytes()))
    }

    /// Passes a text in pieces of `n` bytes.
    fn in_pieces(mask: &Mask, text: &str, n: usize) -> String {
        let mut stream = mask.stream();
        let mut out: Vec<u8> = text.as_bytes().chunks(n).flat_map(|piece| stream.pass(piece)).collect();
        out.extend(stream.end());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_secret_is_masked_however_the_text_is_cut() {
        let mask = mask(&["hunter2-é-hunter2", "hunter2"]);
        let text = "a hunter2 b hunter2-é-hunter2, hunterhunter2 hunt\n";
        for n in 1..=text.len() {
            assert_eq!(in_pieces(&mask, text, n), "a *** b ***, hunter*** hunt\n", "in pieces of {n}");
        }
    }

    #[test]
    fn what_is_no_secret_is_left_alone() {
        assert_eq!(mask(&["hunter2"]).text("the hunt, hunt er2, HUNTER2, hu"), "the hunt, hunt er2, HUNTER2, hu");
        assert_eq!(mask(&[]).text("anything"), "anything");
        assert_eq!(mask(&[""]).text("anything"), "anything");
    }

    #[test]
    fn a_secret_that_begins_like_another_is_masked_whole() {
        let mask = mask(&["abc", "abcdef", "cde"]);
        for n in 1..8 {
            assert_eq!(in_pieces(&mask, "xabcdefx abcx abcd abcde", n), "x***x ***x ***d ***de", "in pieces of {n}");
        }
        assert_eq!(mask.text("aabcabcdeabcdef"), "a******de***");
    }

    #[test]
    fn output_that_ends_within_a_secret_does_not_tell_its_beginning() {
        assert_eq!(mask(&["hunter2"]).text("it is hunter"), "it is ***");
        assert_eq!(mask(&["hunter2"]).text("it is hu"), "it is hu");
    }

    #[test]
    fn each_line_of_a_long_secret_is_one() {
        let mask = mask(&["-- BEGIN --\nMIIEvQIBADAN\r\nx\n"]);
        assert_eq!(mask.text("line MIIEvQIBADAN of x"), "line *** of x");
        assert_eq!(mask.text("all: -- BEGIN --\nMIIEvQIBADAN\r\nx\n."), "all: ***.");
    }

    #[test]
    fn an_error_says_no_secret() {
        let error = StepError::new(ErrorClass::Step, "P2006", "no `hunter2`").with_help("not hunter2");
        let error = mask(&["hunter2"]).error(error.with_detail(vec!["said hunter2".to_owned()]));
        assert_eq!((error.message.as_str(), error.help.as_deref()), ("no `***`", Some("not ***")));
        assert_eq!(error.detail, ["said ***"]);
    }
}
