//! Decides gates and releases: reads the reports, makes the bundle, asks the registry.
//!
//! Blocking; called from the pool once everything that is needed has been durably recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use mlp_artifact::report::Report;
use mlp_model::{
    ArtifactKind, CommitGuard, Digest, ErrorClass, Input, InputRecord, NodeKind, Record, RunId, Sensitivity, StepError,
    Store, StoreError, Timestamp, fail_point,
};

use crate::answer::commit_and_wait;
use crate::bundle::{Bundle, BundlePart, Pinned};
use crate::context::Context;
use crate::fault::{bug, io_trouble, store_trouble};
use crate::folders;
use crate::gate::{self, GateOutcome, Measured};
use crate::names::unique_id;
use crate::registry::{Admission, Registry, next_instant};
use crate::run::attempt::type_of_input;
use crate::run::scratch::Scratch;
use crate::sources;

/// How a release came out.
#[derive(Debug, Clone, PartialEq)]
pub enum ReleaseOutcome {
    /// The version is live from now on.
    Released {
        version: u64,
        bundle: Digest,
    },
    /// Already live.
    Kept {
        version: u64,
    },
    /// The bundle was rolled back from and is held.
    Held {
        version: u64,
        live: Option<u64>,
    },
    Refused {
        because: String,
        live: Option<u64>,
    },
}

/// A part of a bundle, with what the run knows of it.
pub(crate) enum Candidate {
    Ready(BundlePart),
    /// A call to be kept with everything it reads but tables.
    Transform {
        idx: usize,
        inputs: Vec<InputRecord>,
    },
    /// Nobody made it, which is a mistake of ours.
    Absent(String),
}

/// What a gate finds where it reads a report.
pub(crate) enum Reading {
    Report(Digest),
    /// The node was skipped because there is no champion.
    NoChampion,
    /// The node was skipped because of a condition, or of a failure that the run goes on without: there is nothing to measure.
    LeftOut,
}

/// Evaluates a gate. `reports` gives what it finds at each node that it reads; `lost` are those that it goes on without.
pub(crate) fn decide_gate(
    ctx: &Context,
    idx: usize,
    reports: BTreeMap<usize, Reading>,
    lost: &BTreeSet<usize>,
) -> Result<GateOutcome, StepError> {
    let node = ctx.node(idx);
    let NodeKind::Gate(declared) = &node.kind else {
        return Err(bug("N6601", format!("`{}` is no gate", node.name)));
    };
    let mut measured = BTreeMap::new();
    for (reader, reading) in reports {
        let found = match reading {
            Reading::NoChampion => Measured::NoChampion,
            Reading::LeftOut => Measured::Report(BTreeMap::new()),
            Reading::Report(digest) => {
                let name = &ctx.node(reader).name;
                let bytes = ctx.store.read(&digest).map_err(|error| store_trouble(&error))?.ok_or_else(|| {
                    let message =
                        format!("the report of `{name}`, which gate `{}` reads, is missing or damaged", node.name);
                    StepError::new(ErrorClass::Environment, "N6401", message)
                        .with_help(format!("run again: step `{name}` will run"))
                })?;
                let report = Report::parse(&bytes)
                    .map_err(|error| bug("N6601", format!("the report of `{name}` cannot be read: {error}")))?;
                Measured::Report(report.metrics)
            }
        };
        measured.insert(reader, found);
    }
    Ok(gate::evaluate(&gate::without(declared, lost), &measured, |node| ctx.node(node).name.clone()))
}

/// Returns the version that stays live.
pub(crate) fn refuse(store: &dyn Store, release: &str, because: String) -> Result<ReleaseOutcome, StepError> {
    let records = store.release_records(release).map_err(|error| store_trouble(&error))?;
    Ok(ReleaseOutcome::Refused { because, live: Registry::fold(release, &records).live })
}

/// Who releases, and when.
pub(crate) struct Releaser<'a> {
    pub run: &'a RunId,
    pub host: &'a str,
    pub now: &'a dyn Fn() -> Timestamp,
}

/// Makes the bundle, stores it and releases it, unless it is live or held.
pub(crate) fn decide_release(
    ctx: &Context,
    release: &str,
    parts: BTreeMap<String, Candidate>,
    by: &Releaser<'_>,
) -> Result<ReleaseOutcome, StepError> {
    let mut bundle = BTreeMap::new();
    for (name, part) in parts {
        let part = match part {
            Candidate::Ready(part) => part,
            Candidate::Transform { idx, inputs } => keep_transform(ctx, idx, &inputs)?,
            Candidate::Absent(what) => {
                return Err(bug("N6301", format!("release `{release}` was decided before `{what}` was there")));
            }
        };
        bundle.insert(name, part);
    }
    let bytes = Bundle::new(bundle).to_bytes();
    let digest = ctx.store.put(&bytes, Sensitivity::Plain).map_err(|error| store_trouble(&error))?;
    admit(ctx, release, digest, by).map_err(|error| store_trouble(&error))
}

/// Decides about a bundle, again and again should another run change the release meanwhile.
fn admit(ctx: &Context, release: &str, bundle: Digest, by: &Releaser<'_>) -> Result<ReleaseOutcome, StoreError> {
    let store = &*ctx.store;
    loop {
        let records = store.release_records(release)?;
        let registry = Registry::fold(release, &records);
        let version = match registry.admit(&bundle) {
            Admission::Keep { version } => return Ok(ReleaseOutcome::Kept { version }),
            Admission::Held { version } => return Ok(ReleaseOutcome::Held { version, live: registry.live }),
            Admission::Release { version } => version,
        };
        // What the gates compared with must still be live.
        if let Some(champion) = ctx.champions.get(release)
            && champion.version() != registry.live
        {
            let because = match registry.live {
                Some(live) => format!("version {live} went live during the run, and this was not compared with it"),
                None => "the version that this was compared with is gone".to_owned(),
            };
            return Ok(ReleaseOutcome::Refused { because, live: registry.live });
        }
        let at = next_instant((by.now)(), &records);
        let record = Record::Released {
            id: unique_id(&["released", by.host, &by.run.0, release, &bundle.to_string()], version, at, &records),
            release: release.to_owned(),
            version,
            bundle,
            run: by.run.clone(),
            at,
        };
        let guard = CommitGuard { release: release.to_owned(), n_records: records.len() };
        fail_point("release.releasing");
        match commit_and_wait(store, vec![record], Some(guard)) {
            Ok(()) => {
                fail_point("release.released");
                return Ok(ReleaseOutcome::Released { version, bundle });
            }
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Describes a call and copies the code that it reads into the store, so that the release outlives the sources.
fn keep_transform(ctx: &Context, idx: usize, inputs: &[InputRecord]) -> Result<BundlePart, StepError> {
    let call = ctx.call(idx);
    let mut kept = BTreeMap::new();
    for record in inputs {
        let input = &call.inputs[&record.name];
        let Some(kind) = type_of_input(ctx, input).artifact_kind().filter(|kind| *kind != ArtifactKind::Table) else {
            continue;
        };
        if let Input::Path { path, shown, folder } = input {
            keep_source(ctx, (path, shown, *folder), &record.digest, &ctx.partitions.of(idx))?;
        }
        kept.insert(record.name.clone(), Pinned { kind, digest: record.digest });
    }
    Ok(BundlePart::Transform {
        op: call.op.to_string(),
        op_version: call.op_version,
        params: call.params.clone(),
        inputs: kept,
    })
}

fn keep_source(
    ctx: &Context,
    (path, shown, folder): (&Path, &str, bool),
    digest: &Digest,
    partitions: &[String],
) -> Result<(), StepError> {
    let trouble = |error: StoreError| store_trouble(&error);
    let is_folder_kind = if folder { ArtifactKind::Folder } else { ArtifactKind::File };
    if crate::objects::missing(&*ctx.store, is_folder_kind, digest).map_err(trouble)?.is_empty() {
        return Ok(());
    }
    let changed = || {
        let message = format!("`{shown}` changed during the run, so that it cannot be released with the model");
        StepError::new(ErrorClass::User, "N6104", message).with_help("run again once nobody writes to it")
    };
    if sources::read(&*ctx.store, path, shown, folder)?.digest != *digest {
        return Err(changed());
    }
    let scratch = Scratch::new(&ctx.scratches)?;
    let copy = scratch.path().join("kept");
    let stored = if folder {
        let manifest = folders::scan(&*ctx.store, path).map_err(|_| changed())?;
        for entry in &manifest.entries {
            let target = copy.join(&entry.path);
            let parent = target.parent().unwrap_or(&copy);
            let copied = fs::create_dir_all(parent).and_then(|()| fs::copy(path.join(&entry.path), &target));
            copied.map_err(|error| trouble(io_trouble("copy", path, &error)))?;
        }
        folders::adopt(&*ctx.store, &copy, (Sensitivity::Personal, partitions)).map_err(|_| changed())?.0
    } else {
        fs::copy(path, &copy).map_err(|error| trouble(io_trouble("copy", path, &error)))?;
        ctx.store.adopt(&copy, Sensitivity::Personal, partitions).map_err(trouble)?.0
    };
    if stored == *digest { Ok(()) } else { Err(changed()) }
}
