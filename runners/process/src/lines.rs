//! Lines of what a process prints, read without waiting and bounded in length. Unaware of who reads them.
//!
//! The crate `mlp-worker` has nearly the same module: the two do not name each other, and workers know no secrets.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::mask::Stream;

/// What is longer is cut.
const MAX_LINE_BYTES: usize = 8 << 10;

/// One pipe from a process.
pub struct Lines {
    /// `None` after its end.
    pipe: Option<std::fs::File>,
    line: Vec<u8>,
    cut: bool,
    /// A carriage return came: what follows writes over the line.
    returned: bool,
    /// Before anything is cut.
    mask: Stream,
}

impl Lines {
    pub fn new(pipe: OwnedFd, mask: Stream) -> std::io::Result<Self> {
        fcntl_setfl(&pipe, fcntl_getfl(&pipe)? | OFlags::NONBLOCK)?;
        Ok(Self { pipe: Some(pipe.into()), line: Vec::new(), cut: false, returned: false, mask })
    }

    /// Returns what to poll, until the pipe has ended.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads once, without waiting, and gives each complete line to `sink`. Returns whether there may be more.
    fn pump(&mut self, sink: &mut dyn FnMut(String)) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        let mut bytes = [0; 16 << 10];
        match pipe.read(&mut bytes) {
            Ok(0) => {
                self.pipe = None;
                self.unmask(sink);
                if !self.line.is_empty() {
                    self.end_line(sink);
                }
                false
            }
            Ok(n_bytes) => {
                let masked = self.mask.pass(bytes.get(..n_bytes).unwrap_or_default());
                self.push(&masked, sink);
                true
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => true,
                ErrorKind::WouldBlock => false,
                _ => {
                    self.pipe = None;
                    false
                }
            },
        }
    }

    /// Reads what is there now; `at_end` also gives away an unfinished last line.
    pub fn drain(&mut self, at_end: bool, sink: &mut dyn FnMut(String)) {
        // A pipe holds 64 KiB. A process that goes on writing for ever does not keep us here.
        for _ in 0..64 {
            if !self.pump(sink) {
                break;
            }
        }
        if at_end {
            self.unmask(sink);
            if !self.line.is_empty() {
                self.end_line(sink);
            }
        }
    }

    /// Takes what was held back: nothing follows that would make a secret of it.
    fn unmask(&mut self, sink: &mut dyn FnMut(String)) {
        let rest = self.mask.end();
        self.push(&rest, sink);
    }

    fn push(&mut self, bytes: &[u8], sink: &mut dyn FnMut(String)) {
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let (text, end) = match piece.split_last() {
                Some((end @ (b'\n' | b'\r'), text)) => (text, Some(*end)),
                _ => (piece, None),
            };
            if self.returned && !text.is_empty() {
                // A progress bar writes over its line: what a terminal would show in the end is kept.
                self.line.clear();
                (self.cut, self.returned) = (false, false);
            }
            let room = MAX_LINE_BYTES - self.line.len();
            self.cut |= text.len() > room;
            self.line.extend_from_slice(text.get(..room).unwrap_or(text));
            match end {
                Some(b'\n') => self.end_line(sink),
                Some(_) => self.returned = true,
                None => {}
            }
        }
    }

    fn end_line(&mut self, sink: &mut dyn FnMut(String)) {
        let text = String::from_utf8_lossy(&self.line);
        sink(if self.cut { format!("{text}..") } else { text.into_owned() });
        self.line.clear();
        (self.cut, self.returned) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(pieces: &[&[u8]]) -> Vec<String> {
        let (_reader, writer) = std::io::pipe().unwrap();
        let mut lines = Lines::new(writer.into(), crate::mask::Mask::default().stream()).unwrap();
        let mut received = Vec::new();
        for piece in pieces {
            lines.push(piece, &mut |line| received.push(line));
        }
        if !lines.line.is_empty() {
            lines.end_line(&mut |line| received.push(line));
        }
        received
    }

    #[test]
    fn lines_are_cut_out_of_any_bytes() {
        let cases: [(&[&[u8]], &[&str]); 8] = [
            (&[b"one\ntwo\n"], &["one", "two"]),
            (&[b"o", b"ne\n\ntw", b"o"], &["one", "", "two"]),
            (&[b"dos\r\n"], &["dos"]),
            (&[b"dos\r", b"\n"], &["dos"]),
            (&[b" 10 %\r 50 %\r100 %\n"], &["100 %"]),
            (&[b"\r 10 %", b"\r100 %"], &["100 %"]),
            (&[b"caf\xe9\n"], &["caf\u{fffd}"]),
            (&[b"gr\xc3", b"\xbc\xc3\x9fe\n"], &["grüße"]),
        ];
        for (pieces, expected) in cases {
            assert_eq!(lines_of(pieces), expected);
        }
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let piece = vec![b'x'; 3 * MAX_LINE_BYTES];
        let received = lines_of(&[&piece, &piece, b"\nnext\n"]);
        assert_eq!(received.len(), 2);
        assert_eq!(received[0].len(), MAX_LINE_BYTES + "..".len());
        assert_eq!(received[1], "next");
    }
}
