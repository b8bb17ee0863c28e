//! The versions of a release, folded from its records: which exist, which is live, which are held.
//!
//! A version is one bundle under a number, and never changes. Records count in the order of their instants, then of their
//! ids, wherever they were written: whoever releases or goes back takes an instant behind all that it knows of, so that
//! this is the order in which things happened, and two stores that were merged see the same one. Knows nothing of how a
//! bundle is made or where records are kept.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use mlp_model::{Digest, Record, RunId, Stored, Timestamp};
use serde::{Deserialize, Serialize};

/// How many digits of a bundle's digest tell two versions of one number apart.
const N_DIGITS: usize = 8;

/// The state of one release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registry {
    pub release: String,
    /// In the order of their numbers.
    pub versions: Vec<Version>,
    /// The number of the live version.
    pub live: Option<u64>,
    /// The bundles of versions in the order in which they went live; one that came back stands twice.
    pub history: Vec<Digest>,
    /// How many records this was made from; guards the next change.
    pub n_records: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// From 1.
    pub version: u64,
    /// Whether another bundle has the number, too: two stores gave it before they were merged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// Further numbers that the bundle got in other stores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<u64>,
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

impl Version {
    /// Returns what people call it: its number, and what tells it apart where another version has the same.
    pub fn name(&self) -> VersionName {
        let bundle = self.shared.then(|| self.bundle.to_string()[..N_DIGITS].to_owned());
        VersionName { number: self.version, bundle }
    }

    fn has_number(&self, number: u64) -> bool {
        self.version == number || self.also.contains(&number)
    }
}

/// What people call a version: `2`, or `2-9188f2cc` where two bundles have the number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionName {
    pub number: u64,
    /// The first digits of the bundle's digest.
    pub bundle: Option<String>,
}

impl From<u64> for VersionName {
    fn from(number: u64) -> Self {
        Self { number, bundle: None }
    }
}

impl FromStr for VersionName {
    type Err = String;

    /// Reads `2`, `v2` or `2-9188f2cc`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (number, bundle) = match text.split_once('-') {
            Some((number, bundle)) => (number, Some(bundle)),
            None => (text, None),
        };
        let is_digits =
            |text: &str| !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match number.strip_prefix('v').unwrap_or(number).parse() {
            Ok(number) if bundle.is_none_or(is_digits) => {
                Ok(Self { number, bundle: bundle.map(str::to_ascii_lowercase) })
            }
            _ => Err("a version is a number, as `mlp models` shows it".to_owned()),
        }
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bundle {
            Some(bundle) => write!(f, "{}-{bundle}", self.number),
            None => write!(f, "{}", self.number),
        }
    }
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
    /// Folds the release's records.
    pub fn fold(release: &str, records: &[Stored]) -> Self {
        let mut registry = Self {
            release: release.to_owned(),
            versions: Vec::new(),
            live: None,
            history: Vec::new(),
            n_records: records.len(),
        };
        let mut seen = BTreeSet::new();
        for (place, stored) in in_order(records) {
            if seen.insert(place) {
                registry.apply(&stored.record);
            }
        }
        registry
    }

    /// Returns the versions that have a number: one, or two and more where stores were merged that had both given it.
    pub fn numbered(&self, number: u64) -> Vec<&Version> {
        self.versions.iter().filter(|version| version.has_number(number)).collect()
    }

    /// Returns the version of a bundle.
    pub fn holder(&self, bundle: &Digest) -> Option<&Version> {
        self.versions.iter().find(|version| version.bundle == *bundle)
    }

    pub fn live_version(&self) -> Option<&Version> {
        self.holder(self.live_bundle()?)
    }

    pub fn is_live(&self, version: &Version) -> bool {
        self.live_bundle() == Some(&version.bundle)
    }

    fn live_bundle(&self) -> Option<&Digest> {
        self.history.last()
    }

    /// Decides what releasing `bundle` comes to. The same bundle never gets a second number.
    pub fn admit(&self, bundle: &Digest) -> Admission {
        match self.holder(bundle) {
            Some(known) if self.is_live(known) => Admission::Keep { version: known.version },
            Some(known) if known.held => Admission::Held { version: known.version },
            Some(known) => Admission::Release { version: known.version },
            None => Admission::Release { version: self.last_number() + 1 },
        }
    }

    /// Returns the highest number that was ever given; 0 if none was.
    pub fn last_number(&self) -> u64 {
        self.versions
            .iter()
            .flat_map(|version| version.also.iter().copied().chain([version.version]))
            .max()
            .unwrap_or(0)
    }

    /// Returns the version that was live most recently before the live one and is not held.
    pub fn previous(&self) -> Option<&Version> {
        let before = self.history.iter().rev().filter_map(|bundle| self.holder(bundle));
        before.into_iter().find(|version| !self.is_live(version) && !version.held)
    }

    fn apply(&mut self, record: &Record) {
        match record {
            Record::Released { version, bundle, run, at, .. } => {
                self.note(*version, bundle, run, *at);
                // Another store may not have known of the hold.
                if self.holder(bundle).is_some_and(|version| !version.held) {
                    self.go_live(bundle, *at);
                }
            }
            Record::RolledBack { from, to, from_bundle, to_bundle, reason, at, .. } => {
                let target = self.meant(*to, to_bundle.as_ref());
                let target = target.and_then(|bundle| self.holder(&bundle));
                // Another store may not have known of a hold: then the way leads further back.
                let target = target.filter(|version| !version.held).or_else(|| self.previous()).map(|to| to.bundle);
                if let Some(left) = self.meant(*from, from_bundle.as_ref()).and_then(|bundle| self.version_mut(&bundle))
                {
                    left.held = true;
                    left.held_because = Some(reason.clone());
                }
                if let Some(target) = target {
                    self.go_live(&target, *at);
                }
            }
            Record::HoldLifted { version, bundle, .. } => {
                let lifted = self.meant(*version, bundle.as_ref());
                if let Some(lifted) = lifted.and_then(|bundle| self.version_mut(&bundle)) {
                    lifted.held = false;
                }
            }
            _ => {}
        }
    }

    /// Takes up that a bundle has a number. A number that another bundle has already is shared from then on.
    fn note(&mut self, number: u64, bundle: &Digest, run: &RunId, at: Timestamp) {
        if let Some(known) = self.version_mut(bundle) {
            if !known.has_number(number) {
                known.also.push(number);
            }
        } else {
            self.versions.push(Version {
                version: number,
                shared: false,
                also: Vec::new(),
                bundle: *bundle,
                run: run.clone(),
                released_at: at,
                live_since: None,
                held: false,
                held_because: None,
            });
            self.versions.sort_by_key(|version| (version.version, version.released_at, version.bundle));
        }
        if self.numbered(number).len() > 1 {
            self.versions
                .iter_mut()
                .filter(|version| version.has_number(number))
                .for_each(|version| version.shared = true);
        }
    }

    /// Returns the bundle that a record speaks of. Where it tells only a number that is shared, the live one is meant if
    /// it has it, else the first.
    fn meant(&self, number: u64, bundle: Option<&Digest>) -> Option<Digest> {
        let numbered = self.numbered(number);
        let told = bundle.and_then(|bundle| self.holder(bundle));
        let meant = told.or_else(|| numbered.iter().copied().find(|version| self.is_live(version)));
        meant.or_else(|| numbered.first().copied()).map(|version| version.bundle)
    }

    fn go_live(&mut self, bundle: &Digest, at: Timestamp) {
        let Some(number) = self.holder(bundle).map(|version| version.version) else { return };
        if self.live_bundle() == Some(bundle) {
            return;
        }
        if let Some(left) = self.live_bundle().copied().and_then(|live| self.version_mut(&live)) {
            left.live_since = None;
        }
        if let Some(live) = self.version_mut(bundle) {
            live.live_since = Some(at);
        }
        self.live = Some(number);
        self.history.push(*bundle);
    }

    fn version_mut(&mut self, bundle: &Digest) -> Option<&mut Version> {
        self.versions.iter_mut().find(|candidate| candidate.bundle == *bundle)
    }
}

/// Where a record stands in a release's history: its instant, then its id.
pub(crate) type Place<'a> = (Timestamp, &'a str);

/// Returns the records of a release in the order in which they count.
pub(crate) fn in_order(records: &[Stored]) -> Vec<(Place<'_>, &Stored)> {
    let mut ordered: Vec<_> = records.iter().filter_map(|stored| Some((place_of(&stored.record)?, stored))).collect();
    ordered.sort_by_key(|(place, _)| *place);
    ordered
}

/// Returns where a record stands among others of its release; `None` for records of something else.
pub(crate) fn place_of(record: &Record) -> Option<Place<'_>> {
    match record {
        Record::Released { id, at, .. } | Record::RolledBack { id, at, .. } | Record::HoldLifted { id, at, .. } => {
            Some((*at, id))
        }
        _ => None,
    }
}

/// Returns the instant for a new record of a release: now, but behind every record that is known, whatever the clocks say
/// that they were written by.
pub(crate) fn next_instant(now: Timestamp, records: &[Stored]) -> Timestamp {
    let newest =
        records.iter().filter_map(|stored| place_of(&stored.record)).map(|(at, _)| at.0.saturating_add(1)).max();
    Timestamp(now.0.max(newest.unwrap_or(i64::MIN)))
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
        let (from_bundle, to_bundle) = (None, None);
        let (id, release) = (format!("{from}{to}"), "churn".into());
        Record::RolledBack { id, release, from, to, from_bundle, to_bundle, reason, at: Timestamp(0) }
    }

    fn lifted(version: u64) -> Record {
        Record::HoldLifted { id: "lift".into(), release: "churn".into(), version, bundle: None, at: Timestamp(0) }
    }

    /// Gives a record its instant.
    fn at(mut record: Record, instant: i64) -> Record {
        match &mut record {
            Record::Released { id, at, .. } | Record::RolledBack { id, at, .. } | Record::HoldLifted { id, at, .. } => {
                id.push_str(&format!("@{instant}"));
                *at = Timestamp(instant);
            }
            other => panic!("{other:?}"),
        }
        record
    }

    /// Folds records, one a second.
    fn fold(records: Vec<Record>) -> Registry {
        fold_as_they_are(records.into_iter().zip(0..).map(|(record, idx)| at(record, 1000 * (idx + 1))).collect())
    }

    fn fold_as_they_are(records: Vec<Record>) -> Registry {
        let stored: Vec<Stored> =
            records.into_iter().enumerate().map(|(idx, record)| Stored { seq: idx as u64 + 1, record }).collect();
        Registry::fold("churn", &stored)
    }

    fn names(registry: &Registry) -> Vec<String> {
        registry.versions.iter().map(|version| version.name().to_string()).collect()
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
        let ends = |records: Vec<Record>| {
            let registry = fold(records);
            (registry.live, registry.previous().map(|version| version.version))
        };
        let three = vec![released(1, "a"), released(2, "b"), released(3, "c")];
        assert_eq!(ends(three.clone()), (Some(3), Some(2)));
        let once = [three, vec![rolled_back(3, 2)]].concat();
        assert_eq!(ends(once.clone()), (Some(2), Some(1)));
        let twice = [once, vec![rolled_back(2, 1)]].concat();
        assert_eq!(ends(twice), (Some(1), None));
    }

    #[test]
    fn an_older_version_that_goes_live_again_keeps_its_number_and_run() {
        let registry = fold(vec![released(1, "a"), released(2, "b"), released(1, "a")]);
        assert_eq!((registry.live, registry.versions.len()), (Some(1), 2));
        assert_eq!(registry.previous().map(|version| version.version), Some(2));
    }

    #[test]
    fn a_number_that_two_stores_gave_belongs_to_neither_bundle_alone() {
        let registry = fold(vec![released(1, "a"), released(2, "b"), released(2, "c"), released(3, "d")]);
        let short = |bundle: &str| format!("2-{}", &Digest::of(bundle.as_bytes()).to_string()[..8]);
        assert_eq!(names(&registry), ["1".to_owned(), short("b"), short("c"), "3".to_owned()]);
        assert_eq!((registry.live, registry.numbered(2).len(), registry.last_number()), (Some(3), 2, 3));
        // The same bundle under two numbers is one version, found by both.
        let registry = fold(vec![released(1, "a"), released(2, "b"), released(4, "b")]);
        assert_eq!(names(&registry), ["1", "2"]);
        assert_eq!(registry.numbered(4), registry.numbered(2));
        assert_eq!(registry.admit(&Digest::of(b"new")), Admission::Release { version: 5 });
    }

    #[test]
    fn records_count_by_instant_then_id_in_whatever_order_and_however_often_they_came() {
        let records = vec![
            at(released(1, "a"), 10),
            at(released(2, "b"), 20),
            at(rolled_back(2, 1), 30),
            at(released(2, "c"), 30),
            at(released(3, "d"), 40),
            at(rolled_back(3, 1), 50),
        ];
        let n_distinct = records.len();
        let expected = fold_as_they_are(records.clone());
        let mut random = 7_usize;
        for _ in 0..50 {
            let mut shuffled = [records.clone(), records[2..].to_vec()].concat();
            for at in (1..shuffled.len()).rev() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                shuffled.swap(at, (random >> 33) % (at + 1));
            }
            let registry = fold_as_they_are(shuffled);
            assert_eq!(Registry { n_records: n_distinct, ..registry }, expected);
        }
    }

    #[test]
    fn a_hold_outlives_a_release_by_a_store_that_did_not_know_of_it() {
        let registry = fold(vec![released(1, "a"), released(2, "b"), rolled_back(2, 1), released(2, "b")]);
        assert_eq!((registry.live, registry.admit(&Digest::of(b"b"))), (Some(1), Admission::Held { version: 2 }));
    }

    #[test]
    fn a_new_record_comes_behind_all_that_are_known_whatever_the_clock_says() {
        let known = [Stored { seq: 1, record: at(released(1, "a"), 5000) }];
        assert_eq!(next_instant(Timestamp(9000), &known), Timestamp(9000));
        assert_eq!(next_instant(Timestamp(20), &known), Timestamp(5001));
        assert_eq!(next_instant(Timestamp(20), &[]), Timestamp(20));
    }

    #[test]
    fn a_version_is_read_as_it_is_shown() {
        for (text, number, bundle) in [("2", 2, None), ("v12", 12, None), ("2-9188F2cc", 2, Some("9188f2cc"))] {
            assert_eq!(text.parse(), Ok(VersionName { number, bundle: bundle.map(str::to_owned) }));
        }
        for wrong in ["", "v", "x", "2-", "2-xyz", "-1", "2.0"] {
            assert!(wrong.parse::<VersionName>().is_err(), "{wrong}");
        }
    }
}
