//! What people do with released versions: look at them, go back, lift a hold.

use mlp_model::{CommitGuard, Digest, Record, StoreError};

use crate::Engine;
use crate::answer::commit_and_wait;
use crate::bundle::{Bundle, BundleError};
use crate::names::{most_similar, unique_id};
use crate::registry::{Registry, Version, VersionName, next_instant};

/// A finished rollback.
#[derive(Debug, Clone, PartialEq)]
pub struct RolledBack {
    pub release: String,
    /// Held from now on.
    pub from: Version,
    /// Live from now on.
    pub to: Version,
}

/// Why a release cannot be changed as asked. Nothing has changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RegistryError {
    #[error("there is no release `{release}`")]
    UnknownRelease { release: String, suggestion: Option<String> },
    #[error("release `{release}` has no version {version}; it has 1 to {last}")]
    UnknownVersion { release: String, version: VersionName, last: u64 },
    #[error("nothing of release `{release}` is live")]
    NothingLive { release: String },
    #[error("number {number} of release `{release}` was given to {} bundles before stores were merged", .names.len())]
    SharedNumber { release: String, number: u64, names: Vec<VersionName> },
    #[error("version {version} of release `{release}` is live already")]
    AlreadyLive { release: String, version: VersionName },
    #[error("version {version} of release `{release}` is held{}", after_colon(.because))]
    Held { release: String, version: VersionName, because: Option<String> },
    #[error("version {version} of release `{release}` is not held")]
    NotHeld { release: String, version: VersionName },
    #[error(
        "release `{release}` has no version to go back to: nothing that nobody holds was live before version {live}"
    )]
    NothingBefore { release: String, live: VersionName },
    #[error("version {version} of release `{release}` is not whole: {} missing or damaged", objects(.missing))]
    NotWhole { release: String, version: VersionName, missing: Vec<Digest> },
    #[error("version {version} of release `{release}` cannot be read: {error}")]
    Bundle { release: String, version: VersionName, error: BundleError },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RegistryError {
    /// Returns what to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownRelease { suggestion: Some(name), .. } => Some(format!("did you mean `{name}`?")),
            Self::UnknownRelease { .. } => Some("`mlp models` lists all releases".to_owned()),
            Self::Held { release, version, .. } => {
                Some(format!("lift the hold: `mlp models unhold {release}@{version}`"))
            }
            Self::SharedNumber { release, names, .. } => {
                let names: Vec<_> = names.iter().map(|name| format!("`{release}@{name}`")).collect();
                Some(format!("write {}", names.join(" or ")))
            }
            Self::NothingBefore { release, .. } => Some(format!("`mlp models {release}` lists its versions")),
            Self::NotWhole { .. } | Self::Bundle { .. } => {
                Some("run its pipeline as it was then, or name another version with `--to`".to_owned())
            }
            Self::Store(error) => crate::fault::store_trouble(error).help,
            Self::UnknownVersion { .. }
            | Self::NothingLive { .. }
            | Self::AlreadyLive { .. }
            | Self::NotHeld { .. } => None,
        }
    }
}

impl Registry {
    /// Finds a version by what people call it; without a name, the live one.
    pub fn find(&self, name: Option<&VersionName>) -> Result<&Version, RegistryError> {
        let release = self.release.clone();
        let Some(name) = name else {
            return self.live_version().ok_or(RegistryError::NothingLive { release });
        };
        let mut found = self.numbered(name.number);
        if let Some(digits) = &name.bundle {
            found.retain(|version| version.bundle.to_string().starts_with(digits));
        }
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(RegistryError::UnknownVersion { release, version: name.clone(), last: self.last_number() }),
            many => {
                let names = many.iter().map(|version| version.name()).collect();
                Err(RegistryError::SharedNumber { release, number: name.number, names })
            }
        }
    }
}

impl Engine {
    /// Returns the versions of a release, and which is live.
    pub fn versions(&self, release: &str) -> Result<Registry, RegistryError> {
        let records = self.store.release_records(release)?;
        if records.is_empty() {
            let all = self.store.releases()?;
            let suggestion = most_similar(release, all.iter().map(String::as_str));
            return Err(RegistryError::UnknownRelease { release: release.to_owned(), suggestion });
        }
        Ok(Registry::fold(release, &records))
    }

    /// Returns all releases, by name.
    pub fn releases(&self) -> Result<Vec<Registry>, StoreError> {
        let names = self.store.releases()?;
        names.iter().map(|name| Ok(Registry::fold(name, &self.store.release_records(name)?))).collect()
    }

    /// Reads a bundle.
    pub fn bundle(&self, digest: &Digest) -> Result<Bundle, BundleError> {
        Bundle::read(&*self.store, digest)
    }

    /// Makes version `to` live, or without it the one that was live most recently before; holds the one it leaves.
    ///
    /// All objects of the target are checked to be there before anything changes.
    pub fn rollback(&self, release: &str, to: Option<&VersionName>, reason: &str) -> Result<RolledBack, RegistryError> {
        loop {
            let registry = self.versions(release)?;
            let from = registry.find(None)?.clone();
            let nothing = || RegistryError::NothingBefore { release: release.to_owned(), live: from.name() };
            let to = match to {
                Some(name) => registry.find(Some(name))?,
                None => registry.previous().ok_or_else(nothing)?,
            };
            let (to, version) = (to.clone(), to.name());
            if to.bundle == from.bundle {
                return Err(RegistryError::AlreadyLive { release: release.to_owned(), version });
            }
            if to.held {
                let because = to.held_because.clone();
                return Err(RegistryError::Held { release: release.to_owned(), version, because });
            }
            self.check_whole(release, &to)?;
            let records = self.store.release_records(release)?;
            let at = next_instant((self.clock)(), &records);
            let said = ["rolled back", release, &from.version.to_string(), reason];
            let record = Record::RolledBack {
                id: unique_id(&said, to.version, at, &records),
                release: release.to_owned(),
                from: from.version,
                to: to.version,
                from_bundle: Some(from.bundle),
                to_bundle: Some(to.bundle),
                reason: reason.to_owned(),
                at,
            };
            if self.change(&registry, record)? {
                return Ok(RolledBack { release: release.to_owned(), from, to });
            }
        }
    }

    /// Lifts the hold of a version: runs may release it again.
    pub fn unhold(&self, release: &str, version: &VersionName) -> Result<(), RegistryError> {
        loop {
            let registry = self.versions(release)?;
            let held = registry.find(Some(version))?;
            if !held.held {
                return Err(RegistryError::NotHeld { release: release.to_owned(), version: held.name() });
            }
            let records = self.store.release_records(release)?;
            let at = next_instant((self.clock)(), &records);
            let (release, version, bundle) = (release.to_owned(), held.version, Some(held.bundle));
            let id = unique_id(&["hold lifted", &release], version, at, &records);
            let record = Record::HoldLifted { id, release, version, bundle, at };
            if self.change(&registry, record)? {
                return Ok(());
            }
        }
    }

    /// Writes a registry record unless the release has changed since `registry` was read; returns whether it did.
    fn change(&self, registry: &Registry, record: Record) -> Result<bool, StoreError> {
        let guard = CommitGuard { release: registry.release.clone(), n_records: registry.n_records };
        match commit_and_wait(&*self.store, vec![record], Some(guard)) {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn check_whole(&self, release: &str, version: &Version) -> Result<(), RegistryError> {
        let (release, name) = (release.to_owned(), version.name());
        let bundle = match self.bundle(&version.bundle) {
            Ok(bundle) => bundle,
            Err(error) => return Err(RegistryError::Bundle { release, version: name, error }),
        };
        let missing = bundle.missing_objects(&*self.store)?;
        if missing.is_empty() { Ok(()) } else { Err(RegistryError::NotWhole { release, version: name, missing }) }
    }
}

fn after_colon(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

fn objects(missing: &[Digest]) -> String {
    let names: Vec<String> = missing.iter().map(Digest::short).collect();
    format!("{} {}", if missing.len() == 1 { "object" } else { "objects" }, names.join(", "))
}
