//! Cuts a CSV file into records, in bounded memory, and knows where in the file each one begins.
//!
//! The rules are those of RFC 4180 with the leniency of the `csv` crate: a line break inside quotes belongs to the cell, any
//! of LF, CRLF and CR ends a record, a quote inside an unquoted cell is an ordinary character. Lines are those that an
//! editor counts. An empty line between records is skipped. Not UTF-8, a NUL byte, a record of more than 64 MiB and a
//! quote that is never closed are errors.
//!
//! Knows nothing of columns and types.

use std::io::{self, Read};

use csv_core::ReadRecordResult;
use memchr::{memchr, memchr_iter};

const CHUNK_BYTES: usize = 1 << 18;
/// A record is held in memory, so there must be a limit: what is longer is most likely a quote left open.
pub(crate) const MAX_RECORD_BYTES: usize = 64 << 20;
const MAX_CELLS: usize = 1 << 20;

pub(crate) struct Records<R> {
    input: R,
    core: csv_core::Reader,
    /// Read but not yet cut: `chunk[begin..end]`, which is valid UTF-8. Behind it at most three bytes of a character
    /// whose rest has not been read.
    chunk: Vec<u8>,
    begin: usize,
    end: usize,
    filled: usize,
    /// Bytes of the file before `chunk`.
    offset: u64,
    at_end: bool,
    /// The cells of the current record, one behind the other, and where each ends.
    text: Vec<u8>,
    ends: Vec<usize>,
}

/// One record.
pub(crate) struct Record<'a> {
    /// The line on which it begins, from 1.
    pub line: u64,
    text: &'a str,
    ends: &'a [usize],
}

impl<'a> Record<'a> {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns cell `i`, without its quotes; empty past the last.
    pub(crate) fn cell(&self, i: usize) -> &'a str {
        let start = if i == 0 { Some(0) } else { self.ends.get(i - 1).copied() };
        start.zip(self.ends.get(i)).and_then(|(start, end)| self.text.get(start..*end)).unwrap_or_default()
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = &'a str> {
        (0..self.len()).map(|i| self.cell(i))
    }
}

/// Why a file cannot be cut into records.
#[derive(Debug)]
pub(crate) enum RecordError {
    Io(io::Error),
    NotUtf8 { line: u64, offset: u64, byte: u8 },
    Utf16,
    Nul { line: u64, offset: u64 },
    TooLong { line: u64 },
    TooManyCells { line: u64 },
    OpenQuote { line: u64 },
}

impl From<io::Error> for RecordError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<R: Read> Records<R> {
    pub(crate) fn new(input: R, delimiter: u8) -> Self {
        Self {
            input,
            core: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
            chunk: vec![0; CHUNK_BYTES],
            begin: 0,
            end: 0,
            filled: 0,
            offset: 0,
            at_end: false,
            text: vec![0; 4096],
            ends: vec![0; 64],
        }
    }

    /// Returns the next record, or `None` at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, RecordError> {
        if !self.skip_empty_lines()? {
            return Ok(None);
        }
        let line = self.core.line();
        let (mut n_text, mut n_ends) = (0, 0);
        loop {
            // At the end of the file a line break is put behind it: it ends the record, unless a quote is open.
            let is_over = self.begin == self.end && !self.fill()?;
            let input = if is_over { b"\n" } else { &self.chunk[self.begin..self.end] };
            let (result, n_in, n_out, n_more) =
                self.core.read_record(input, &mut self.text[n_text..], &mut self.ends[n_ends..]);
            if !is_over {
                self.begin += n_in;
            }
            n_text += n_out;
            n_ends += n_more;
            match result {
                ReadRecordResult::InputEmpty if is_over => return Err(RecordError::OpenQuote { line }),
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.text.len() >= MAX_RECORD_BYTES => {
                    return Err(RecordError::TooLong { line });
                }
                ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull if self.ends.len() >= MAX_CELLS => {
                    return Err(RecordError::TooManyCells { line });
                }
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
        }
        // The file is UTF-8 and was cut at ASCII characters.
        let text = std::str::from_utf8(&self.text[..n_text]).map_err(|_| RecordError::NotUtf8 {
            line,
            offset: self.offset,
            byte: 0,
        })?;
        Ok(Some(Record { line, text, ends: &self.ends[..n_ends] }))
    }

    /// Moves to the first byte of the next record; false at the end of the file.
    fn skip_empty_lines(&mut self) -> Result<bool, RecordError> {
        loop {
            if self.begin == self.end && !self.fill()? {
                return Ok(false);
            }
            match self.chunk[self.begin] {
                b'\n' => self.core.set_line(self.core.line() + 1),
                b'\r' => {}
                _ => return Ok(true),
            }
            self.begin += 1;
        }
    }

    /// Reads the next chunk, all of the last being used; false at the end of the file.
    fn fill(&mut self) -> Result<bool, RecordError> {
        let is_first = self.filled == 0 && self.offset == 0;
        self.chunk.copy_within(self.end..self.filled, 0);
        self.offset += self.end as u64;
        self.filled -= self.end;
        (self.begin, self.end) = (0, 0);
        while !self.at_end && self.filled < self.chunk.len() {
            match self.input.read(&mut self.chunk[self.filled..]) {
                Ok(0) => self.at_end = true,
                Ok(n) => self.filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let bytes = &self.chunk[..self.filled];
        if is_first && (bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff])) {
            return Err(RecordError::Utf16);
        }
        let place = |at: usize| {
            let line = self.core.line() + memchr_iter(b'\n', &bytes[..at]).count() as u64;
            (line, self.offset + at as u64)
        };
        self.end = match std::str::from_utf8(bytes) {
            Ok(_) => bytes.len(),
            Err(error) if error.error_len().is_none() && !self.at_end => error.valid_up_to(),
            Err(error) => {
                let (line, offset) = place(error.valid_up_to());
                return Err(RecordError::NotUtf8 { line, offset, byte: bytes[error.valid_up_to()] });
            }
        };
        if let Some(at) = memchr(0, &bytes[..self.end]) {
            let (line, offset) = place(at);
            return Err(RecordError::Nul { line, offset });
        }
        if is_first && bytes.starts_with("\u{feff}".as_bytes()) {
            self.begin = 3;
        }
        Ok(self.begin < self.end || (self.end > 0 && self.fill()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `bytes` in pieces of `n` bytes; each record as its line and cells.
    fn read(bytes: &[u8], n: usize) -> Result<Vec<(u64, Vec<String>)>, RecordError> {
        struct Pieces<'a>(&'a [u8], usize);
        impl Read for Pieces<'_> {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                let n = self.1.min(out.len());
                self.0.read(&mut out[..n])
            }
        }
        let mut records = Records::new(Pieces(bytes, n), b',');
        records.chunk.truncate(n.max(8));
        let mut found = Vec::new();
        while let Some(record) = records.next()? {
            found.push((record.line, record.cells().map(str::to_owned).collect()));
        }
        Ok(found)
    }

    #[test]
    fn records_and_their_lines_do_not_depend_on_how_the_file_is_read() {
        let cases: [(&str, &[(u64, &[&str])]); 12] = [
            ("a,b\n1,2\n", &[(1, &["a", "b"]), (2, &["1", "2"])]),
            ("a,b\r\n1,2", &[(1, &["a", "b"]), (2, &["1", "2"])]),
            ("\u{feff}a\n\n\r\n1\n\n", &[(1, &["a"]), (4, &["1"])]),
            ("\n\na\n", &[(3, &["a"])]),
            ("a\n\"x\ny\r\nz\"\nb\n", &[(1, &["a"]), (2, &["x\ny\r\nz"]), (5, &["b"])]),
            ("\"a\"\"b\",\"\"\n", &[(1, &["a\"b", ""])]),
            ("\"\"\n,\n", &[(1, &[""]), (2, &["", ""])]),
            ("5\" pipe,b\n", &[(1, &["5\" pipe", "b"])]),
            ("5\" pipe", &[(1, &["5\" pipe"])]),
            ("größe,日本,🦀\n", &[(1, &["größe", "日本", "🦀"])]),
            ("a\rb\r", &[(1, &["a"]), (1, &["b"])]),
            ("\u{feff}", &[]),
        ];
        for (text, expected) in cases {
            for n in [1, 2, 3, 7, 1000] {
                let found = read(text.as_bytes(), n).unwrap();
                let found: Vec<_> = found
                    .iter()
                    .map(|(line, cells)| (*line, cells.iter().map(String::as_str).collect::<Vec<_>>()))
                    .collect();
                let expected: Vec<_> = expected.iter().map(|(line, cells)| (*line, cells.to_vec())).collect();
                assert_eq!(found, expected, "{text:?} in pieces of {n}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_found_with_their_place() {
        for n in [1, 5, 1000] {
            let error = read(b"a\nb\n\xe9t\xe9\n", n).unwrap_err();
            assert!(matches!(error, RecordError::NotUtf8 { line: 3, offset: 4, byte: 0xe9 }), "{error:?}");
            let error = read("a\nüb\u{20ac}".as_bytes().split_last().unwrap().1, n).unwrap_err();
            assert!(matches!(error, RecordError::NotUtf8 { line: 2, offset: 5, .. }), "{error:?}");
            let error = read(b"a\nb\0\n", n).unwrap_err();
            assert!(matches!(error, RecordError::Nul { line: 2, offset: 3 }), "{error:?}");
        }
        assert!(matches!(read(b"\xff\xfea\0", 1000), Err(RecordError::Utf16)));
    }

    #[test]
    fn a_quote_that_is_never_closed_is_told_with_the_line_where_it_opens() {
        for text in ["a\nb\n\"c\nd\n", "a\nb\n\"c\"\"", "a\n\nx,\"c"] {
            let error = read(text.as_bytes(), 4).unwrap_err();
            assert!(matches!(error, RecordError::OpenQuote { line: 3 }), "{error:?}");
        }
    }

    #[test]
    fn a_record_past_the_limit_is_refused() {
        let endless = io::repeat(b'x').take(2 * MAX_RECORD_BYTES as u64);
        let mut records = Records::new(b"a\n\"".chain(endless), b',');
        assert!(records.next().unwrap().is_some());
        assert!(matches!(records.next(), Err(RecordError::TooLong { line: 2 })));
    }
}
