//! Asks the store about all steps that can be resolved, many at a time, before each of them is resolved on its own.
//!
//! Only saves time: whatever is not foreseen here is asked for when it is needed. Goes level by level, since a key needs
//! the outputs of what the step reads.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use mlp_model::{KeyId, OutputRecord, StepId};

use crate::context::{Context, call_of};
use crate::resolve::{Keyed, Known, bind_inputs, key_of, step_id};
use crate::tolerance::Tolerance;

/// A pipeline that is narrower than this gains nothing.
const MIN_WIDTH: usize = 8;
/// How many steps are asked for at a time, and by how many threads: while one waits, the other takes up answers. The store
/// finds many together with less work than each alone.
const SHARE: usize = 2048;
const MAX_ASKING: usize = 2;

pub(crate) fn foresee(ctx: &Context) {
    let n_nodes = ctx.pipeline.nodes.len();
    let is_asked = |idx: usize| {
        let node = ctx.node(idx);
        ctx.request.is_wanted[idx] && !ctx.request.is_forced[idx] && call_of(node).is_some() && node.waits().is_none()
    };
    let mut dependents = vec![Vec::new(); n_nodes];
    let mut n_missing = vec![0; n_nodes];
    for idx in (0..n_nodes).filter(|idx| is_asked(*idx)) {
        for input in ctx.request.graph.inputs(idx) {
            dependents[input].push(idx);
            n_missing[idx] += 1;
        }
    }
    let mut known: Known = vec![None; n_nodes];
    let mut level: Vec<usize> = (0..n_nodes).filter(|idx| is_asked(*idx) && n_missing[*idx] == 0).collect();
    while level.len() >= MIN_WIDTH {
        let found = ask_for_all(ctx, &level, &known);
        level.clear();
        for (idx, outputs) in found {
            let Some(outputs) = outputs else { continue };
            known[idx] = Some(outputs.into());
            for &dependent in &dependents[idx] {
                n_missing[dependent] -= 1;
                if n_missing[dependent] == 0 {
                    level.push(dependent);
                }
            }
        }
    }
}

/// Asks for the nodes of one level, with keys being computed for some while others are asked for.
fn ask_for_all(ctx: &Context, level: &[usize], known: &Known) -> Vec<(usize, Option<Vec<OutputRecord>>)> {
    let (give, take) = mpsc::channel::<(Vec<usize>, Vec<(KeyId, StepId)>)>();
    let take = Mutex::new(take);
    let ask = || {
        let mut found = Vec::new();
        loop {
            let next = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((nodes, asked)) = next else { return found };
            found.extend(nodes.into_iter().zip(ctx.store.foresee(&asked)));
        }
    };
    thread::scope(|scope| {
        let n_threads = level.len().div_ceil(SHARE).min(MAX_ASKING);
        let asking: Vec<_> = (0..n_threads).map(|_| scope.spawn(ask)).collect();
        for share in level.chunks(SHARE) {
            // What cannot be resolved is told when it is its turn.
            let keyed = share.iter().filter_map(|idx| Some((*idx, ask_for(ctx, *idx, known)?)));
            if give.send(keyed.unzip()).is_err() {
                break;
            }
        }
        drop(give);
        asking.into_iter().flat_map(|asked| asked.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

fn ask_for(ctx: &Context, idx: usize, known: &Known) -> Option<(KeyId, StepId)> {
    if ctx.absence(idx).is_some() {
        return None;
    }
    // Nothing has failed yet.
    let inputs = bind_inputs(ctx, idx, known, &Tolerance::default()).ok()?;
    let key = key_of(ctx, idx, &inputs).ok()?;
    let id = key.id();
    ctx.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(idx, Keyed { key, id, inputs });
    Some((id, step_id(ctx, idx)))
}
