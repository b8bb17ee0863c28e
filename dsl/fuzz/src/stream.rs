//! How bytes become edits: a text to begin with, then one edit after the other until the bytes are used up.

use crate::support::everything::PIECES;

const TEXTS: [&str; 3] = ["", crate::support::CHURN, include_str!("../../../pipelines/demand/demand.mlp")];

pub struct Edit {
    /// Where it begins; to be brought into the text.
    pub at: usize,
    /// How many bytes it takes away.
    pub len: usize,
    pub new: String,
}

/// Takes four bytes for an edit (two for the place, one for the length, one for a piece), or more, where it brings a
/// text of its own.
pub fn read(bytes: &[u8]) -> (&'static str, Vec<Edit>) {
    let (first, mut rest) = bytes.split_first().unwrap_or((&0, &[]));
    let mut edits = Vec::new();
    while let [low, high, len, kind, after @ ..] = rest {
        rest = after;
        let new = match PIECES.get(usize::from(*kind)) {
            Some(piece) => (*piece).to_owned(),
            None => {
                let (own, after) = rest.split_at(rest.len().min(usize::from(*kind) - PIECES.len()));
                rest = after;
                String::from_utf8_lossy(own).into_owned()
            }
        };
        edits.push(Edit { at: usize::from(u16::from_le_bytes([*low, *high])), len: usize::from(*len % 32), new });
    }
    edits.truncate(24);
    (TEXTS[usize::from(*first) % TEXTS.len()], edits)
}
