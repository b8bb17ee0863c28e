//! The payload of a journal record: one commit, whole.
//!
//! The bytes: u32 length of the head, little-endian; the head as JSON; each record as JSON on a line of its own, so that
//! the journal can be read with `strings`; then the bytes of the inline objects.

use std::ops::Range;

use mlp_model::Digest;
use serde::{Deserialize, Serialize};

/// Names one connection's life of a client: drawn at random, 32 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ClientId(pub String);

/// What stands before the records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub client: ClientId,
    /// The client's number for this commit; unique for the client.
    pub no: u64,
    /// The client will not ask again for its commits below this number.
    pub acked_below: u64,
    /// The name of the store that the records were written in, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Position of the first record, counted over all records of the journal from 1.
    pub first: u64,
    /// The length of each record.
    pub records: Vec<u32>,
    /// Digest and length of each inline object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<(Digest, u32)>,
}

/// A payload taken apart; ranges are of the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub head: Head,
    pub records: Vec<Range<usize>>,
    pub blobs: Vec<(Digest, Range<usize>)>,
}

/// Puts a payload together; the lengths in `head` are set from the parts.
pub(crate) fn encode(mut head: Head, records: &[impl AsRef<[u8]>], blobs: &[(Digest, impl AsRef<[u8]>)]) -> Vec<u8> {
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a record comes from one frame of the socket");
    head.records = records.iter().map(|record| len(record.as_ref())).collect();
    head.blobs = blobs.iter().map(|(digest, bytes)| (*digest, len(bytes.as_ref()))).collect();
    let text = serde_json::to_vec(&head).expect("texts, numbers and lists are always JSON");
    let mut payload = len(&text).to_le_bytes().to_vec();
    payload.extend_from_slice(&text);
    for record in records {
        payload.push(b'\n');
        payload.extend_from_slice(record.as_ref());
    }
    payload.push(b'\n');
    for (_, bytes) in blobs {
        payload.extend_from_slice(bytes.as_ref());
    }
    payload
}

/// Takes a payload apart; `None`, if it is none.
pub(crate) fn decode(payload: &[u8]) -> Option<Group> {
    let (len, rest) = payload.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    let head: Head = serde_json::from_slice(rest.get(..len)?).ok()?;
    let mut at = 4 + len;
    let mut take = |len: u32, gap: usize| {
        let range = at + gap..at + gap + len as usize;
        at = range.end;
        (range.end <= payload.len()).then_some(range)
    };
    let records = head.records.iter().map(|len| take(*len, 1)).collect::<Option<_>>()?;
    take(0, 1)?;
    let blobs = head.blobs.iter().map(|(digest, len)| Some((*digest, take(*len, 0)?))).collect::<Option<_>>()?;
    (at == payload.len()).then_some(Group { head, records, blobs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_comes_apart_as_it_was_put_together() {
        let head = Head {
            client: ClientId("c".into()),
            no: 3,
            acked_below: 2,
            from: None,
            first: 9,
            records: vec![],
            blobs: vec![],
        };
        let blob = (Digest::of(b"\n\n"), b"\n\n");
        let payload = encode(head, &["{\"a\":1}", "{}"], &[blob]);
        let group = decode(&payload).unwrap();
        let text = |range: &Range<usize>| std::str::from_utf8(&payload[range.clone()]).unwrap();
        assert_eq!(group.records.iter().map(text).collect::<Vec<_>>(), ["{\"a\":1}", "{}"]);
        assert_eq!(text(&group.blobs[0].1), "\n\n");
        assert_eq!((group.head.no, group.head.first, group.head.records.len()), (3, 9, 2));
        for cut in 0..payload.len() {
            assert_eq!(decode(&payload[..cut]), None, "cut at {cut}");
        }
        assert_eq!(decode(&[&payload[..], b"x"].concat()), None);
    }
}
