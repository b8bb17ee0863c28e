//! Walks records up or down and collects what it meets as nodes and edges.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

use mlp_model::{
    ArtifactKind, CacheKey, Digest, FieldVisitor, InputRecord, KeyField, KeyId, OutputRecord, RunId, StepId, StoreError,
};

use super::{Direction, Edge, Fact, Lineage, LineageError, LineageNode, ObjectCount};
use crate::bundle::{Bundle, BundlePart};
use crate::collect::{Gone, GoneObjects};
use crate::history::{Memory, Past, past, read_key};
use crate::registry::{Registry, Version, VersionName};
use crate::{Engine, objects};

/// What makes two nodes the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Identity {
    /// An artifact, as made by this attempt: the same bytes made by two steps are two nodes, or edges could lead in
    /// a circle.
    Artifact(Digest, Option<(RunId, StepId)>),
    Attempt(RunId, StepId),
    Key(KeyId),
    Source(String, Digest),
    Release(String, Digest),
}

pub(super) struct Walk<'a> {
    engine: &'a Engine,
    memory: Memory<'a>,
    nodes: Vec<LineageNode>,
    known: HashMap<Identity, usize>,
    /// Every object that was met, and whether it is whole.
    objects: BTreeMap<Digest, bool>,
    /// What is gone on purpose; read when the first object is missing.
    gone: Option<GoneObjects>,
    /// Nodes whose edges are still to be found.
    open: VecDeque<(usize, Open)>,
}

/// A version that holds an artifact, under the part's name.
type Holder = (String, Rc<Registry>, Version);

enum Open {
    MadeBy(Option<Past>),
    Reads(Past),
    UsedBy(Digest),
    Makes(Past),
}

impl<'a> Walk<'a> {
    pub(super) fn new(engine: &'a Engine) -> Self {
        Self {
            engine,
            memory: Memory::new(&*engine.store),
            nodes: Vec::new(),
            known: HashMap::new(),
            objects: BTreeMap::new(),
            gone: None,
            open: VecDeque::new(),
        }
    }

    pub(super) fn into_lineage(self, direction: Direction) -> Lineage {
        let total = self.objects.len();
        let missing: Vec<Digest> =
            self.objects.into_iter().filter(|(_, whole)| !whole).map(|(digest, _)| digest).collect();
        let why = |digest: &Digest| self.gone.as_ref().and_then(|gone| gone.why(digest));
        let collected = missing.iter().filter(|digest| matches!(why(digest), Some(Gone::Collected))).count();
        let erased = missing.iter().filter(|digest| matches!(why(digest), Some(Gone::Erased { .. }))).count();
        let objects = ObjectCount { present: total - missing.len(), total, missing, collected, erased };
        Lineage { direction, nodes: self.nodes, objects }
    }

    pub(super) fn start_at_artifact(&mut self, digest: &Digest) -> Result<(), LineageError> {
        let made_by = self.newest_maker(digest, None)?;
        let record = made_by.as_ref().and_then(|made_by| output_of(made_by, digest));
        if record.is_none() {
            let readers = self.memory.store.consumers(digest)?;
            let reader = match readers.first() {
                Some(stored) => past(self.memory.store, stored)?,
                None => None,
            };
            let is_there = self.memory.store.object(digest)?.is_some();
            let read = reader.iter().flat_map(|reader| &reader.result.inputs).find(|input| input.digest == *digest);
            match read {
                Some(input) if !is_there => {
                    let fact = Fact::Source { shown: input.shown.clone(), digest: *digest };
                    let node = self.add(None, fact);
                    self.open.push_back((node, Open::UsedBy(*digest)));
                    return Ok(());
                }
                None if !is_there => return Err(LineageError::UnknownArtifact(*digest)),
                _ => {}
            }
        }
        self.artifact(digest, record, made_by)?;
        Ok(())
    }

    pub(super) fn start_at_release(
        &mut self,
        release: &str,
        version: Option<&VersionName>,
    ) -> Result<(), LineageError> {
        let registry = self.engine.versions(release)?;
        let found = registry.find(version)?;
        let node = self.release(&registry, found)?;
        let bundle = Bundle::read(self.memory.store, &found.bundle).map_err(|error| LineageError::Bundle {
            release: release.to_owned(),
            version: found.name(),
            error,
        })?;
        for (part, made) in &bundle.parts {
            let target = match made {
                BundlePart::Artifact(pinned) => {
                    let made_by = self.newest_maker(&pinned.digest, Some(&found.run))?;
                    let record = made_by.as_ref().and_then(|made_by| output_of(made_by, &pinned.digest));
                    let record = record.unwrap_or(OutputRecord {
                        name: part.clone(),
                        digest: pinned.digest,
                        kind: pinned.kind,
                        size_bytes: 0,
                    });
                    self.artifact(&pinned.digest, Some(record), made_by)?
                }
                BundlePart::Transform { op, op_version, params, inputs } => {
                    let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect();
                    let fact = Fact::Transform { op: op.clone(), op_version: *op_version, params };
                    let node = self.add(None, fact);
                    for (argument, pinned) in inputs {
                        let record = OutputRecord {
                            name: argument.clone(),
                            digest: pinned.digest,
                            kind: pinned.kind,
                            size_bytes: 0,
                        };
                        let kept = self.artifact(&pinned.digest, Some(record), None)?;
                        self.link(node, argument, kept);
                    }
                    node
                }
                BundlePart::Value { value } => self.add(None, Fact::Value { value: value.to_string() }),
            };
            self.link(node, part, target);
        }
        Ok(())
    }

    pub(super) fn go_up(&mut self) -> Result<(), LineageError> {
        while let Some((node, open)) = self.open.pop_front() {
            match open {
                Open::MadeBy(Some(made_by)) => {
                    let output = match &self.nodes[node].fact {
                        Fact::Artifact { digest, .. } => output_of(&made_by, digest).map(|output| output.name),
                        _ => None,
                    };
                    let attempt = self.attempt(made_by)?;
                    self.link(node, &output.unwrap_or_default(), attempt);
                }
                Open::Reads(reader) => {
                    for input in reader.result.inputs.clone() {
                        let target = self.input(&reader, &input)?;
                        self.link(node, &input.name, target);
                    }
                }
                Open::MadeBy(None) | Open::UsedBy(_) | Open::Makes(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn go_down(&mut self) -> Result<(), LineageError> {
        let mut held_by = self.releases_by_part()?;
        let mut seen = BTreeSet::new();
        while let Some((node, open)) = self.open.pop_front() {
            let digest = match open {
                Open::UsedBy(digest) => digest,
                Open::MadeBy(_) => match &self.nodes[node].fact {
                    Fact::Artifact { digest, .. } => *digest,
                    _ => continue,
                },
                Open::Makes(maker) => {
                    for output in &maker.result.outputs {
                        if !seen.contains(&output.digest) {
                            let made = self.artifact(&output.digest, Some(output.clone()), None)?;
                            self.link(node, &output.name, made);
                        }
                    }
                    continue;
                }
                Open::Reads(_) => continue,
            };
            if !seen.insert(digest) {
                continue;
            }
            for stored in self.memory.store.consumers(&digest)? {
                let Some(reader) = past(self.memory.store, &stored)? else { continue };
                let identity = Identity::Key(reader.result.key);
                if self.known.contains_key(&identity) {
                    continue;
                }
                let input = reader.result.inputs.iter().find(|input| input.digest == digest);
                let label = input.map(|input| input.name.clone()).unwrap_or_default();
                let fact = self.attempt_fact(&reader)?;
                let attempt = self.add(Some(identity), fact);
                self.open.push_back((attempt, Open::Makes(reader)));
                self.link(node, &label, attempt);
            }
            for (part, registry, version) in held_by.remove(&digest).unwrap_or_default() {
                if !self.known.contains_key(&Identity::Release(registry.release.clone(), version.bundle)) {
                    let holder = self.release(&registry, &version)?;
                    self.link(node, &part, holder);
                }
            }
        }
        Ok(())
    }

    /// Returns, for each artifact that a version holds, the part's name and the version.
    fn releases_by_part(&self) -> Result<BTreeMap<Digest, Vec<Holder>>, StoreError> {
        let mut held_by: BTreeMap<Digest, Vec<Holder>> = BTreeMap::new();
        for registry in self.engine.releases()?.into_iter().map(Rc::new) {
            for version in &registry.versions {
                // A version that cannot be read holds nothing that could be shown.
                let Ok(bundle) = Bundle::read(self.memory.store, &version.bundle) else { continue };
                for (part, made) in bundle.parts {
                    if let BundlePart::Artifact(pinned) = made {
                        let holder = (part, Rc::clone(&registry), version.clone());
                        held_by.entry(pinned.digest).or_default().push(holder);
                    }
                }
            }
        }
        Ok(held_by)
    }

    /// Returns the node of what an attempt read: an artifact, or a source.
    fn input(&mut self, reader: &Past, input: &InputRecord) -> Result<usize, LineageError> {
        if let Some(made_by) = self.memory.maker(reader, input)? {
            let record = output_of(&made_by, &input.digest);
            return self.artifact(&input.digest, record, Some(made_by));
        }
        // A part of a release is known by its digest; a path has no object in general.
        if input.shown.contains('@')
            && let Some(made_by) = self.newest_maker(&input.digest, None)?
        {
            let record = output_of(&made_by, &input.digest);
            return self.artifact(&input.digest, record, Some(made_by));
        }
        let fact = Fact::Source { shown: input.shown.clone(), digest: input.digest };
        Ok(self.add(Some(Identity::Source(input.shown.clone(), input.digest)), fact))
    }

    fn artifact(
        &mut self,
        digest: &Digest,
        record: Option<OutputRecord>,
        made_by: Option<Past>,
    ) -> Result<usize, LineageError> {
        let maker = made_by.as_ref().map(|made_by| (made_by.executed_in.clone(), made_by.step.clone()));
        let identity = Identity::Artifact(*digest, maker);
        if let Some(&node) = self.known.get(&identity) {
            return Ok(node);
        }
        let kind = record.as_ref().map(|record| record.kind);
        let (present, gone) = self.check(kind.unwrap_or(ArtifactKind::File), digest)?;
        let (collected, erased) = match gone {
            Some(Gone::Erased { partition }) => (false, Some(partition)),
            Some(Gone::Collected) => (true, None),
            None => (false, None),
        };
        let size_bytes = match record.map(|record| record.size_bytes).filter(|&size_bytes| size_bytes > 0) {
            Some(size_bytes) => Some(size_bytes),
            None => self.memory.store.object(digest)?.map(|object| object.size_bytes),
        };
        let fact = Fact::Artifact { digest: *digest, artifact: kind, size_bytes, present, collected, erased };
        let node = self.add(Some(identity), fact);
        self.open.push_back((node, Open::MadeBy(made_by)));
        Ok(node)
    }

    fn attempt(&mut self, past: Past) -> Result<usize, LineageError> {
        let identity = Identity::Attempt(past.executed_in.clone(), past.step.clone());
        if let Some(&node) = self.known.get(&identity) {
            return Ok(node);
        }
        let fact = self.attempt_fact(&past)?;
        let node = self.add(Some(identity), fact);
        self.open.push_back((node, Open::Reads(past)));
        Ok(node)
    }

    fn attempt_fact(&mut self, past: &Past) -> Result<Fact, LineageError> {
        let key = read_key(self.memory.store, &past.result)?;
        let step = self.memory.executed_as(past)?.unwrap_or_else(|| past.step.clone());
        Ok(Fact::Attempt {
            step,
            op: past.result.op.clone(),
            run: past.executed_in.clone(),
            at: past.result.at,
            attempt: past.result.attempt,
            seconds: past.result.seconds,
            key: past.result.key,
            params: key.as_ref().map(params_of).unwrap_or_default(),
            environment: past.result.environment.clone(),
            facts: past.result.facts.clone(),
        })
    }

    fn release(&mut self, registry: &Registry, version: &Version) -> Result<usize, LineageError> {
        let whole = self.memory.store.object(&version.bundle)?.is_some();
        self.objects.insert(version.bundle, whole);
        let fact = Fact::Release {
            release: registry.release.clone(),
            version: version.version,
            bundle: version.bundle,
            run: version.run.clone(),
            at: version.released_at,
            live: registry.is_live(version),
            held: version.held,
        };
        Ok(self.add(Some(Identity::Release(registry.release.clone(), version.bundle)), fact))
    }

    /// Returns the newest attempt that made an artifact, or the one of `run` if there is one.
    fn newest_maker(&self, digest: &Digest, run: Option<&RunId>) -> Result<Option<Past>, StoreError> {
        let mut newest = None;
        for stored in self.memory.store.producers(digest)? {
            let Some(found) = past(self.memory.store, &stored)? else { continue };
            if run.is_none_or(|run| found.run == *run) {
                return Ok(Some(found));
            }
            newest = newest.or(Some(found));
        }
        Ok(newest)
    }

    /// Counts the artifact's objects and returns whether all are whole, and why one of them is gone, if that was on
    /// purpose.
    fn check(&mut self, kind: ArtifactKind, digest: &Digest) -> Result<(bool, Option<Gone>), StoreError> {
        let (mut is_whole, mut why) = (true, None);
        for object in objects::all(self.memory.store, kind, digest)? {
            let whole = match self.objects.get(&object) {
                Some(whole) => *whole,
                None => self.memory.store.has_object(&object)?,
            };
            self.objects.insert(object, whole);
            is_whole &= whole;
            if !whole {
                let gone = match self.gone.take() {
                    Some(known) => known,
                    None => GoneObjects::read(self.memory.store)?,
                };
                why = self.gone.insert(gone).why(&object).cloned().or(why);
            }
        }
        Ok((is_whole, why))
    }

    fn add(&mut self, identity: Option<Identity>, fact: Fact) -> usize {
        if let Some(&node) = identity.as_ref().and_then(|identity| self.known.get(identity)) {
            return node;
        }
        let node = self.nodes.len();
        self.nodes.push(LineageNode { fact, edges: Vec::new() });
        if let Some(identity) = identity {
            self.known.insert(identity, node);
        }
        node
    }

    fn link(&mut self, from: usize, label: &str, to: usize) {
        self.nodes[from].edges.push(Edge { label: label.to_owned(), node: to });
    }
}

fn output_of(made_by: &Past, digest: &Digest) -> Option<OutputRecord> {
    made_by.result.outputs.iter().find(|output| output.digest == *digest).cloned()
}

fn params_of(key: &CacheKey) -> BTreeMap<String, String> {
    struct Params(BTreeMap<String, String>);
    impl FieldVisitor for Params {
        fn field(&mut self, field: KeyField<'_>) {
            if let KeyField::Param { name, value } = field {
                self.0.insert(name.to_owned(), value.to_string());
            }
        }
    }
    let mut params = Params(BTreeMap::new());
    key.visit(&mut params);
    params.0
}
