//! What client and owner say to each other over the socket.
//!
//! A frame: u32 length of the rest; u32 length of the JSON that follows, both little-endian; the JSON; attached bytes. A
//! client begins with [`Hello`], the owner answers [`Welcome`] once the store is open; then requests carry numbers and
//! answers repeat them. [`PROTOCOL`] is raised with every change that an older side would misread.

use std::io::{self, ErrorKind, Read, Write};

use mlp_model::{
    CommitGuard, Digest, Holdup, KeyId, Portion, Removed, RunId, RunSummary, StepId, StepResult, StoreError, Stored,
    Take,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::journal::group::ClientId;
use crate::snapshot::Position;
use crate::stat_cache::{Known, Subject};

pub(crate) const PROTOCOL: u32 = 7;
/// Nobody sends more at once; a larger length is nonsense.
const MAX_FRAME_LEN: usize = 1 << 30;
/// So much memory is set aside for a frame before its bytes have come.
const MAX_TRUSTED_LEN: usize = 4 << 20;

/// The first frame of a client, also after a broken connection: what it has and what it waits for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub protocol: u32,
    pub client: ClientId,
    /// Runs that it started and has not finished.
    pub runs: Vec<RunId>,
    pub held: Vec<Held>,
    /// Numbers of its claims that are not answered.
    pub waiting: Vec<u64>,
    pub groups: Vec<u32>,
    /// Objects that it was handed or brought in, and still relies on.
    pub uses: Vec<Digest>,
}

/// A lease of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// The number of the request that got it.
    pub claim: u64,
    pub key: KeyId,
    /// What it takes of what runs share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub portions: Vec<Portion>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Welcome {
    Ready,
    /// This owner speaks another protocol.
    OtherProtocol(u32),
    /// The store cannot be opened.
    Failed(StoreError),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Numbered<T> {
    pub no: u64,
    /// Sent before, over a connection that broke.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resent: bool,
    pub body: T,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Attached: the records as JSON, then the inline objects. `commit` numbers the client's commits from 1.
    Commit {
        commit: u64,
        guard: Option<CommitGuard>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        acked_below: u64,
        records: Vec<u32>,
        blobs: Vec<(Digest, u32)>,
    },
    /// `seen` is the position of the newest result that the client knows, 0 if it knows of none.
    Claim {
        key: KeyId,
        seen: u64,
        takes: Vec<Take>,
    },
    /// Asks what the claims of these keys wait for that are not answered.
    Holdups {
        keys: Vec<KeyId>,
    },
    /// Ends the leases that these requests got; those of `freed` keep their keys, and take nothing any more. Not answered.
    GiveBack {
        claims: Vec<u64>,
        freed: Vec<u64>,
    },
    Track {
        group: u32,
    },
    Untrack {
        group: u32,
    },
    /// With `is_wanted` the bytes are attached to the answer.
    Blob {
        digest: Digest,
        is_wanted: bool,
    },
    /// Answered with what is known of each, in their order.
    Stats {
        subjects: Vec<Subject>,
    },
    /// Not answered.
    SetStats {
        known: Vec<(Subject, Known)>,
    },
    Result {
        key: KeyId,
    },
    /// What a run reused, as its record `seq` says.
    ResultReused {
        key: KeyId,
        run: RunId,
        seq: u64,
    },
    /// What will be asked about these steps next, in one question.
    Foresee {
        asked: Vec<(KeyId, StepId)>,
    },
    /// The newest record of each step.
    NewestRecords {
        steps: Vec<StepId>,
    },
    Runs {
        limit: usize,
        before: Option<RunId>,
    },
    FindRuns {
        prefix: String,
    },
    RunRecords {
        run: RunId,
    },
    StepHistory {
        step: StepId,
        limit: usize,
    },
    OpHistory {
        op: String,
        limit: usize,
    },
    Producers {
        artifact: Digest,
    },
    Consumers {
        artifact: Digest,
    },
    FindArtifacts {
        prefix: String,
        limit: usize,
    },
    ReleaseRecords {
        release: String,
    },
    Releases,
    CountRecords,
    /// How far the journal goes.
    Position,
    /// The client relies on the object from now on. Asking for its stat or its bytes says so, too.
    Use {
        digest: Digest,
    },
    /// The client relies on no object any more. Not answered.
    ReleaseUses,
    /// Answered when every commit that came before is applied.
    BeginCollection,
    /// Attached: digests, 32 bytes each.
    Remove,
    /// Not answered.
    EndCollection,
    RemoveDamaged,
    Collections,
    Erasures,
    /// What the index claims, or, with `recount`, what its rows add up to.
    IndexState {
        recount: bool,
    },
    /// Ends the owner if nobody else is connected. Answered with how many are.
    MakeRoom,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Done,
    Granted(Vec<Portion>),
    Finished,
    Holdups(Vec<Option<Holdup>>),
    /// Attached, if true and wanted.
    Blob(bool),
    /// Attached: what [`crate::stat_cache::encode_all`] writes.
    Stats,
    Result(Option<(u64, RunId, StepResult)>),
    ResultReused(Option<(RunId, StepResult)>),
    /// Attached: what [`crate::foreseen`] writes.
    Foreseen,
    NewestRecords(Vec<Option<Stored>>),
    Runs(Vec<RunSummary>),
    Stored(Vec<Stored>),
    Digests(Vec<Digest>),
    Names(Vec<String>),
    Count(u64),
    Position(Position),
    Removed(Removed),
    Damaged {
        n_files: u64,
        size_bytes: u64,
    },
    IndexState(IndexState),
}

/// How far the index has read the journal, and what its rows add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexState {
    /// Sequence number of the newest frame, and where it stands; zeros in an empty store.
    pub frame: u64,
    pub segment: u32,
    pub end: u64,
    pub n_records: u64,
    pub n_rows: u64,
    pub sum: u64,
    /// Rows and sum are what is there; else what should be.
    pub is_counted: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub no: u64,
    pub answer: Result<Answer, StoreError>,
}

/// Makes a frame of `message` and attached bytes.
pub(crate) fn encode<T: Serialize>(message: &T, attached: &[&[u8]]) -> Vec<u8> {
    let text = serde_json::to_vec(message).expect("our messages have text keys and finite numbers");
    let n_attached: usize = attached.iter().map(|bytes| bytes.len()).sum();
    let number = |len: usize| u32::try_from(len).expect("a frame is smaller than 4 GiB").to_le_bytes();
    let mut frame = Vec::with_capacity(8 + text.len() + n_attached);
    frame.extend_from_slice(&number(4 + text.len() + n_attached));
    frame.extend_from_slice(&number(text.len()));
    frame.extend_from_slice(&text);
    for bytes in attached {
        frame.extend_from_slice(bytes);
    }
    frame
}

pub(crate) fn write(stream: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    stream.write_all(frame)
}

/// Reads a frame; `None` when the other side has closed.
pub(crate) fn read<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<Option<(T, Vec<u8>)>> {
    let mut head = [0; 4];
    match stream.read_exact(&mut head) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let nonsense = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_owned());
    let len = u32::from_le_bytes(head) as usize;
    if !(4..=MAX_FRAME_LEN).contains(&len) {
        return Err(nonsense("a frame has an impossible length"));
    }
    // A large one grows with what really comes, not with what was announced.
    let mut body = Vec::with_capacity(len.min(MAX_TRUSTED_LEN));
    if stream.take(len as u64).read_to_end(&mut body)? != len {
        return Ok(None);
    }
    let (text_len, rest) = body.split_first_chunk::<4>().ok_or_else(|| nonsense("a frame is too short"))?;
    let (text, attached) = rest
        .split_at_checked(u32::from_le_bytes(*text_len) as usize)
        .ok_or_else(|| nonsense("a frame is shorter than its message"))?;
    let (message, n_attached) = (serde_json::from_slice(text)?, attached.len());
    body.drain(..len - n_attached);
    Ok(Some((message, body)))
}

/// Cuts attached bytes into parts of the given lengths, which must use all of them.
pub(crate) fn split(mut attached: &[u8], lens: impl IntoIterator<Item = u32>) -> Option<Vec<Vec<u8>>> {
    let mut parts = Vec::new();
    for len in lens {
        let (part, rest) = attached.split_at_checked(len as usize)?;
        parts.push(part.to_vec());
        attached = rest;
    }
    attached.is_empty().then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_and_nonsense_is_refused() {
        let request = Numbered { no: 7, resent: false, body: Request::FindRuns { prefix: "7f".into() } };
        let frame = encode(&request, &[b"ab", b"c"]);
        let (back, attached): (Numbered<Request>, _) = read(&mut &frame[..]).unwrap().unwrap();
        assert_eq!((back.no, back.resent, &attached[..]), (7, false, &b"abc"[..]));
        assert_eq!(split(&attached, [2, 1]), Some(vec![b"ab".to_vec(), b"c".to_vec()]));
        assert_eq!((split(&attached, [2]), split(&attached, [2, 2])), (None, None));
        for cut in 0..frame.len() {
            assert!(read::<Numbered<Request>>(&mut &frame[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        for nonsense in [&[0, 0, 0, 0][..], &[255; 8], &[5, 0, 0, 0, 9, 0, 0, 0, 1], &[5, 0, 0, 0, 1, 0, 0, 0, b'x']] {
            assert!(read::<Numbered<Request>>(&mut &nonsense[..]).is_err());
        }
    }
}
