//! The versions of a release, folded from its records: which exist, which is live, which are held.
//!
//! A version is the number of one bundle and never changes. Knows nothing of how a bundle is made or where records
//! are kept.

use mlp_model::{Digest, Record, RunId, Stored, Timestamp};
use serde::{Deserialize, Serialize};

/// The state of one release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registry {
    pub release: String,
    /// In the order of their numbers.
    pub versions: Vec<Version>,
    pub live: Option<u64>,
    /// Versions in the order in which they went live; one that came back stands twice.
    pub history: Vec<u64>,
    /// How many records this was made from; guards the next change.
    pub n_records: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// From 1.
    pub version: u64,
    pub bundle: Digest,
    /// The run that made it.
    pub run: RunId,
    pub released_at: Timestamp,
    pub live_since: Option<Timestamp>,
    /// It was rolled back from: no run releases it again until the hold is lifted.
    pub held: bool,
    /// Why it was rolled back from, the last time.
    pub held_because: Option<String>,
}

/// What releasing a bundle would come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// A new version, or an older one that nobody holds and that goes live again under its own number.
    Release {
        version: u64,
    },
    /// Already live.
    Keep {
        version: u64,
    },
    Held {
        version: u64,
    },
}

impl Registry {
    /// Folds the release's records, oldest first.
    pub fn fold(release: &str, records: &[Stored]) -> Self {
        let mut registry = Self {
            release: release.to_owned(),
            versions: Vec::new(),
            live: None,
            history: Vec::new(),
            n_records: records.len(),
        };
        for stored in records {
            registry.apply(&stored.record);
        }
        registry
    }

    pub fn version(&self, version: u64) -> Option<&Version> {
        self.versions.iter().find(|candidate| candidate.version == version)
    }

    pub fn live_version(&self) -> Option<&Version> {
        self.version(self.live?)
    }

    /// Decides what releasing `bundle` comes to. The same bundle never gets a second number.
    pub fn admit(&self, bundle: &Digest) -> Admission {
        match self.versions.iter().find(|version| version.bundle == *bundle) {
            Some(known) if Some(known.version) == self.live => Admission::Keep { version: known.version },
            Some(known) if known.held => Admission::Held { version: known.version },
            Some(known) => Admission::Release { version: known.version },
            None => Admission::Release { version: self.versions.last().map_or(1, |last| last.version + 1) },
        }
    }

    /// Returns the version that was live most recently before the live one and is not held.
    pub fn previous(&self) -> Option<u64> {
        let is_candidate =
            |version: &u64| Some(*version) != self.live && self.version(*version).is_some_and(|version| !version.held);
        self.history.iter().rev().copied().find(is_candidate)
    }

    fn apply(&mut self, record: &Record) {
        match record {
            Record::Released { version, bundle, run, at, .. } => {
                match self.version(*version) {
                    // A number belongs to its first bundle for good.
                    Some(known) if known.bundle != *bundle => return,
                    Some(_) => {}
                    None => {
                        self.versions.push(Version {
                            version: *version,
                            bundle: *bundle,
                            run: run.clone(),
                            released_at: *at,
                            live_since: None,
                            held: false,
                            held_because: None,
                        });
                        self.versions.sort_by_key(|version| version.version);
                    }
                }
                self.go_live(*version, *at);
            }
            Record::RolledBack { from, to, reason, at, .. } => {
                if let Some(left) = self.version_mut(*from) {
                    left.held = true;
                    left.held_because = Some(reason.clone());
                }
                self.go_live(*to, *at);
            }
            Record::HoldLifted { version, .. } => {
                if let Some(lifted) = self.version_mut(*version) {
                    lifted.held = false;
                }
            }
            _ => {}
        }
    }

    fn go_live(&mut self, version: u64, at: Timestamp) {
        if self.version(version).is_none() || self.live == Some(version) {
            return;
        }
        if let Some(left) = self.live.and_then(|live| self.version_mut(live)) {
            left.live_since = None;
        }
        if let Some(live) = self.version_mut(version) {
            live.live_since = Some(at);
        }
        self.live = Some(version);
        self.history.push(version);
    }

    fn version_mut(&mut self, version: u64) -> Option<&mut Version> {
        self.versions.iter_mut().find(|candidate| candidate.version == version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn released(version: u64, bundle: &str) -> Record {
        Record::Released {
            id: format!("{version}{bundle}"),
            release: "churn".into(),
            version,
            bundle: Digest::of(bundle.as_bytes()),
            run: RunId("1b07".into()),
            at: Timestamp(version as i64),
        }
    }

    fn rolled_back(from: u64, to: u64) -> Record {
        let reason = "declines".to_owned();
        Record::RolledBack { id: format!("{from}{to}"), release: "churn".into(), from, to, reason, at: Timestamp(99) }
    }

    fn lifted(version: u64) -> Record {
        Record::HoldLifted { id: "lift".into(), release: "churn".into(), version, at: Timestamp(100) }
    }

    fn fold(records: Vec<Record>) -> Registry {
        let stored: Vec<Stored> =
            records.into_iter().enumerate().map(|(idx, record)| Stored { seq: idx as u64 + 1, record }).collect();
        Registry::fold("churn", &stored)
    }

    #[test]
    fn the_same_bundle_is_admitted_once() {
        let admit = |records: Vec<Record>, bundle: &str| fold(records).admit(&Digest::of(bundle.as_bytes()));
        let two = || vec![released(1, "a"), released(2, "b")];
        let back = || vec![released(1, "a"), released(2, "b"), rolled_back(2, 1)];
        let freed = || vec![released(1, "a"), released(2, "b"), rolled_back(2, 1), lifted(2)];
        let cases = [
            (vec![], "a", Admission::Release { version: 1 }),
            (two(), "b", Admission::Keep { version: 2 }),
            (two(), "c", Admission::Release { version: 3 }),
            (two(), "a", Admission::Release { version: 1 }),
            (back(), "a", Admission::Keep { version: 1 }),
            (back(), "b", Admission::Held { version: 2 }),
            (back(), "c", Admission::Release { version: 3 }),
            (freed(), "b", Admission::Release { version: 2 }),
        ];
        for (records, bundle, expected) in cases {
            let told = format!("{bundle} after {records:?}");
            assert_eq!(admit(records, bundle), expected, "{told}");
        }
    }

    #[test]
    fn going_back_twice_reaches_the_version_before() {
        let three = vec![released(1, "a"), released(2, "b"), released(3, "c")];
        assert_eq!(fold(three.clone()).previous(), Some(2));
        let once = [three, vec![rolled_back(3, 2)]].concat();
        assert_eq!((fold(once.clone()).live, fold(once.clone()).previous()), (Some(2), Some(1)));
        let twice = [once, vec![rolled_back(2, 1)]].concat();
        assert_eq!((fold(twice.clone()).live, fold(twice).previous()), (Some(1), None));
    }

    #[test]
    fn an_older_version_that_goes_live_again_keeps_its_number_and_run() {
        let registry = fold(vec![released(1, "a"), released(2, "b"), released(1, "a")]);
        assert_eq!((registry.live, registry.versions.len()), (Some(1), 2));
        assert_eq!(registry.previous(), Some(2));
    }

    #[test]
    fn a_number_never_changes_its_bundle() {
        let registry = fold(vec![released(1, "a"), released(1, "other")]);
        assert_eq!(registry.version(1).map(|version| version.bundle), Some(Digest::of(b"a")));
    }
}
