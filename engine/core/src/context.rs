//! One request against one pipeline: what is wanted, and one view of the outside world that plan and run share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock};

use mlp_model::{Call, Digest, Input, Node, NodeKind, Pipeline, Runner, Store, StoreError, Watched};

use crate::bundle::{Bundle, BundleError};
use crate::collect::{Gone, GoneObjects};
use crate::foresee::foresee;
use crate::graph::Graph;
use crate::names::find_nodes;
use crate::partitions::Partitions;
use crate::registry::Registry;
use crate::resolve::Keyed;
use crate::run::scratch::Scratches;
use crate::sources::Sources;
use crate::unfold::open_nodes;
use crate::{Engine, RunError, RunRequest};

pub(crate) type Runners = Arc<BTreeMap<String, Arc<dyn Runner>>>;

/// What was asked for, with all names found.
#[derive(Debug)]
pub(crate) struct Request {
    pub graph: Graph,
    /// For each node, whether it is a target or needed by one.
    pub is_wanted: Vec<bool>,
    /// For each node, whether its stored result is to be ignored.
    pub is_forced: Vec<bool>,
}

/// Everything that resolving, starting and deciding nodes needs. Read-only once made.
pub(crate) struct Context {
    pub store: Arc<dyn Store>,
    pub runners: Runners,
    pub pipeline: Arc<Pipeline>,
    pub request: Request,
    pub salt: String,
    pub sources: Sources,
    /// Where attempts work.
    pub scratches: Arc<Scratches>,
    /// What was taken out of the store, as far as anybody has asked.
    pub gone: OnceLock<GoneObjects>,
    /// Keys that have been computed before their steps are resolved, by node.
    pub keys: Mutex<HashMap<usize, Keyed>>,
    /// What each node's outputs belong to, where they are encrypted.
    pub partitions: Partitions,
    /// What each release that the pipeline reads has live.
    pub champions: BTreeMap<String, Champion>,
}

pub(crate) enum Champion {
    Nothing,
    Live { version: u64, bundle: Result<Bundle, BundleError> },
}

impl Champion {
    pub(crate) fn version(&self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Live { version, .. } => Some(*version),
        }
    }
}

impl Engine {
    /// Returns what the runners' part of the keys depends on, for the whole pipeline; `None`: a runner cannot tell.
    pub fn watched(&self, pipeline: &Pipeline) -> Option<Watched> {
        let mut all = Watched::default();
        for call in pipeline.nodes.iter().filter_map(call_of) {
            all.add(self.runners.get(&*call.runner)?.watched(call)?);
        }
        Some(all)
    }
}

impl Request {
    /// Finds the nodes meant by `targets` (empty: all) and `force`. Tells all unknown names at once.
    pub(crate) fn check(pipeline: &Pipeline, targets: &[String], force: &[String]) -> Result<Self, RunError> {
        let graph = Graph::new(pipeline)?;
        let mut unknown = Vec::new();
        let mut find_all = |names: &[String]| -> Vec<usize> {
            let found = names.iter().filter_map(|name| match find_nodes(pipeline, name) {
                Ok(found) => Some(found),
                // One of the rounds that are not known yet: all of them, until they are.
                Err(error) => match open_nodes(pipeline, name) {
                    open if open.is_empty() => {
                        unknown.push(error);
                        None
                    }
                    open => Some(open),
                },
            });
            found.flatten().collect()
        };
        let (targets_found, forced) = (find_all(targets), find_all(force));
        if !unknown.is_empty() {
            unknown.dedup();
            return Err(RunError::UnknownNames { pipeline: pipeline.name.clone(), names: unknown });
        }
        let is_wanted =
            if targets.is_empty() { vec![true; pipeline.nodes.len()] } else { graph.with_ancestors(targets_found) };
        let mut is_forced = vec![false; pipeline.nodes.len()];
        forced.into_iter().for_each(|node| is_forced[node] = true);
        Ok(Self { graph, is_wanted, is_forced })
    }

    /// Finds the nodes that a run is about: of the targets and what they need, what `until` needs and what needs
    /// `from`; then everything that these need.
    pub(crate) fn select(pipeline: &Pipeline, asked: &RunRequest) -> Result<Self, RunError> {
        let mut names = asked.targets.clone();
        names.extend(asked.until.iter().chain(&asked.from).cloned());
        let mut request = Self::check(pipeline, &names, &asked.force)?;
        let Self { graph, is_wanted, is_forced } = &mut request;
        let find = |names: &[String]| -> Vec<usize> {
            let found = |name: &String| find_nodes(pipeline, name).unwrap_or_else(|_| open_nodes(pipeline, name));
            names.iter().flat_map(found).collect()
        };
        let limits = [&asked.targets, &asked.until].map(|names| (!names.is_empty()).then(|| find(names)));
        let mut is_meant = vec![true; pipeline.nodes.len()];
        let mut keep = |found: Vec<bool>| is_meant.iter_mut().zip(found).for_each(|(meant, found)| *meant &= found);
        limits.into_iter().flatten().for_each(|nodes| keep(graph.with_ancestors(nodes)));
        if !asked.from.is_empty() {
            keep(graph.with_descendants(find(&asked.from)));
        }
        let meant = is_meant.iter().enumerate().filter(|(_, is_meant)| **is_meant).map(|(node, _)| node);
        *is_wanted = graph.with_ancestors(meant);
        if !pipeline.nodes.is_empty() && !is_wanted.contains(&true) {
            return Err(RunError::NothingMeant { from: asked.from.clone() });
        }
        let left_out = is_forced.iter().zip(&*is_wanted).position(|(is_forced, is_wanted)| *is_forced && !is_wanted);
        match left_out {
            Some(node) => Err(RunError::ForcedOutside { step: pipeline.nodes[node].name.clone() }),
            None => Ok(request),
        }
    }

    /// Asks for these nodes. Of the forced steps, those that are not known are passed over.
    pub(crate) fn for_nodes(
        pipeline: &Pipeline,
        nodes: impl IntoIterator<Item = usize>,
        force: &[String],
    ) -> Result<Self, RunError> {
        let graph = Graph::new(pipeline)?;
        let is_wanted = graph.with_ancestors(nodes);
        let mut is_forced = vec![false; pipeline.nodes.len()];
        force.iter().flat_map(|name| find_nodes(pipeline, name)).flatten().for_each(|node| is_forced[node] = true);
        Ok(Self { graph, is_wanted, is_forced })
    }
}

impl Context {
    /// Digests the files that the wanted nodes read, and looks up their champions.
    pub(crate) fn gather(
        store: Arc<dyn Store>,
        runners: Runners,
        salt: String,
        pipeline: Arc<Pipeline>,
        request: Request,
    ) -> Result<Self, StoreError> {
        let inputs = || {
            let wanted = pipeline.nodes.iter().zip(&request.is_wanted).filter(|(_, is_wanted)| **is_wanted);
            // What stands for other nodes reads nothing.
            let wanted = wanted.filter(|(node, _)| node.waits().is_none());
            wanted.filter_map(|(node, _)| call_of(node)).flat_map(|call| call.inputs.values())
        };
        let sources = Sources::read(&*store, inputs());
        let releases: BTreeSet<&str> = inputs()
            .filter_map(|input| match input {
                Input::Champion { release, .. } => Some(release.as_str()),
                _ => None,
            })
            .collect();
        let mut champions = BTreeMap::new();
        for release in releases {
            let registry = Registry::fold(release, &store.release_records(release)?);
            let champion = match registry.live_version() {
                None => Champion::Nothing,
                Some(live) => Champion::Live { version: live.version, bundle: Bundle::read(&*store, &live.bundle) },
            };
            champions.insert(release.to_owned(), champion);
        }
        let (scratches, gone) = (Scratches::new(Arc::clone(&store)), OnceLock::new());
        let keys = Mutex::default();
        let partitions = Partitions::new(&pipeline);
        let ctx =
            Self { store, runners, pipeline, request, salt, sources, scratches, gone, keys, partitions, champions };
        foresee(&ctx);
        Ok(ctx)
    }

    /// Says why one of the objects is gone, if that was on purpose.
    pub(crate) fn why_gone(&self, objects: &[Digest]) -> Result<Option<&Gone>, StoreError> {
        let gone = match self.gone.get() {
            Some(known) => known,
            None => {
                let read = GoneObjects::read(&*self.store)?;
                self.gone.get_or_init(|| read)
            }
        };
        Ok(objects.iter().find_map(|digest| gone.why(digest)))
    }

    /// Returns whether a node's own condition keeps it from running.
    pub(crate) fn is_left_out(&self, idx: usize) -> bool {
        call_of(self.node(idx)).is_some_and(|call| call.options.skip.is_some())
    }

    pub(crate) fn node(&self, idx: usize) -> &Node {
        &self.pipeline.nodes[idx]
    }

    /// Returns the call of a node that the caller knows to be a source or step.
    pub(crate) fn call(&self, idx: usize) -> &Call {
        call_of(self.node(idx)).expect("only sources and steps are resolved and started")
    }

    /// Returns why a node does not run in this run: its condition is false, or it reads a part that no live version has.
    pub(crate) fn absence(&self, idx: usize) -> Option<String> {
        let call = call_of(self.node(idx))?;
        if let Some(reason) = &call.options.skip {
            return Some(reason.clone());
        }
        call.inputs.values().find_map(|input| {
            let Input::Champion { release, part } = input else { return None };
            match self.champions.get(release) {
                None | Some(Champion::Nothing) => Some(format!("no champion of release `{release}` yet")),
                Some(Champion::Live { version, bundle: Ok(bundle) }) if !bundle.parts.contains_key(part) => {
                    Some(format!("version {version} of release `{release}` has no part `{part}`"))
                }
                Some(Champion::Live { .. }) => None,
            }
        })
    }
}

pub(crate) fn call_of(node: &Node) -> Option<&Call> {
    match &node.kind {
        NodeKind::Call(call) => Some(call),
        NodeKind::Gate(_) | NodeKind::Release(_) => None,
    }
}
