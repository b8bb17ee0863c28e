//! What is known of many steps, as bytes: the answer that an up-to-date run mostly waits for.
//!
//! Of each step, in the order in which they were asked for: whether it has any history; of its newest result, if there is
//! one, the position, the record as the journal has it, and where each of its outputs is. A record is read once, by
//! whoever asked.

use mlp_model::{Digest, RunId, StepResult};
use serde::Deserialize;

use crate::bytes::{Reader, Writer};
use crate::fs::Stamp;

/// What is known of a key, or of its step where it has no result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Foreseen {
    pub result: Option<(u64, RunId, StepResult)>,
    /// Of each output.
    pub kept: Vec<Kept>,
    pub has_history: bool,
}

/// Where an object is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kept {
    /// In the journal, whole.
    Inline,
    /// In a file that was whole when it had this stamp.
    File(Stamp),
    Unknown,
}

/// The same before it is sent.
#[derive(Default)]
pub(crate) struct Found {
    pub has_history: bool,
    /// The position of the newest result and its record.
    pub result: Option<(u64, Vec<u8>)>,
    pub kept: Vec<Kept>,
}

pub(crate) fn encode(found: &[Found]) -> Vec<u8> {
    let len_of =
        |found: &Found| found.result.as_ref().map_or(0, |(_, record)| record.len()) + 48 * found.kept.len() + 24;
    let mut out = Writer(Vec::with_capacity(found.iter().map(len_of).sum()));
    for Found { has_history, result, kept } in found {
        out.byte(u8::from(*has_history));
        out.option(result.as_ref(), |out, (seq, record)| {
            out.long(*seq);
            out.text(record);
            out.short(u32::try_from(kept.len()).unwrap_or(u32::MAX));
            for kept in kept {
                match kept {
                    Kept::Unknown => out.byte(0),
                    Kept::Inline => out.byte(1),
                    Kept::File(stamp) => {
                        out.byte(2);
                        out.stamp(stamp);
                    }
                }
            }
        });
    }
    out.0
}

/// Reads it back; `None`, if it is not what [`encode`] writes.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<Foreseen>> {
    let mut bytes = Reader(bytes);
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let has_history = bytes.byte()? != 0;
        let mut kept = Vec::new();
        let result = bytes.option(|bytes| {
            let seq = bytes.long()?;
            let Finished { run, result } = serde_json::from_slice(bytes.text()?).ok()?;
            for _ in 0..bytes.short()? {
                kept.push(match bytes.byte()? {
                    0 => Kept::Unknown,
                    1 => Kept::Inline,
                    2 => Kept::File(bytes.stamp()?),
                    _ => return None,
                });
            }
            Some((seq, run, result))
        })?;
        all.push(Foreseen { result, kept, has_history });
    }
    Some(all)
}

/// A `StepFinished` record, read without asking what it is.
#[derive(Deserialize)]
struct Finished {
    run: RunId,
    result: StepResult,
}

/// Returns the digests of the outputs that such a record names, in their order.
pub(crate) fn outputs_of(record: &[u8]) -> serde_json::Result<Vec<Digest>> {
    #[derive(Deserialize)]
    struct Glance {
        result: Outputs,
    }
    #[derive(Deserialize)]
    struct Outputs {
        outputs: Vec<Output>,
    }
    #[derive(Deserialize)]
    struct Output {
        digest: Digest,
    }
    let glance: Glance = serde_json::from_slice(record)?;
    Ok(glance.result.outputs.into_iter().map(|output| output.digest).collect())
}

#[cfg(test)]
mod tests {
    use mlp_model::Record;

    use super::*;
    use crate::testing::finished;

    #[test]
    fn what_is_known_reads_back_and_nonsense_does_not() {
        let record = finished(7, 3);
        let Record::StepFinished { run, result, .. } = record.clone() else { panic!("{record:?}") };
        let text = serde_json::to_vec(&record).unwrap();
        let stamp = Stamp { size_bytes: 5, mtime_ns: -3, ctime_ns: 4, inode: 7, device: 8 };
        let kept = vec![Kept::Inline, Kept::File(stamp)];
        let found = [
            Found { has_history: true, result: Some((9, text.clone())), kept: kept.clone() },
            Found { has_history: false, result: None, kept: Vec::new() },
        ];
        let bytes = encode(&found);
        let expected = [
            Foreseen { result: Some((9, run, result.clone())), kept, has_history: true },
            Foreseen { result: None, kept: Vec::new(), has_history: false },
        ];
        assert_eq!(decode(&bytes).unwrap(), expected);
        let digests: Vec<Digest> = result.outputs.iter().map(|output| output.digest).collect();
        assert_eq!(outputs_of(&text).unwrap(), digests);
        for cut in 1..bytes.len() - 2 {
            assert_ne!(decode(&bytes[..cut]).as_deref(), Some(&expected[..]), "cut at {cut}");
        }
    }
}
