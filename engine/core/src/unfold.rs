//! Loops over what only a run can tell: the values of a table's column.
//!
//! Until the table is there, such a loop is nodes that stand for those of all rounds. Once the values can be read, the compiler is asked
//! for the pipeline again, with them, and everything goes on with what it gives: keys depend on content, so what was finished
//! stays so. Knows no tables and no language; both are behind [`Unfold`].

use std::collections::BTreeSet;
use std::sync::Arc;

use mlp_model::{ErrorClass, KnownValues, OutputRecord, Pipeline, StepError, Store, Unfold, Waits};

use crate::context::Request;
use crate::fault::{bug, store_trouble};
use crate::plan::Outlook;
use crate::resolve::Lookup;
use crate::{Engine, RunError};

/// What turns loops into nodes, and what is known of their values so far.
#[derive(Clone)]
pub struct Loops {
    pub unfold: Arc<dyn Unfold>,
    pub known: KnownValues,
}

/// Why loops could not be unfolded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum UnfoldError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("loop `{name}` cannot be unfolded: {error}")]
    Loop { name: String, error: StepError },
}

impl Engine {
    /// Returns the pipeline with every loop unfolded whose values the store has already: the table that it goes over
    /// has a result under the key it would have in a run with these forced steps.
    ///
    /// # Errors
    /// The store, or values that no loop can go over.
    pub fn unfold(&self, pipeline: Pipeline, loops: &mut Loops, force: &[String]) -> Result<Pipeline, UnfoldError> {
        let mut pipeline = Arc::new(pipeline);
        loop {
            let open: Vec<Waits> = pipeline.open_loops().into_iter().cloned().collect();
            if open.is_empty() {
                break;
            }
            let request = Request::for_nodes(&pipeline, open.iter().map(|waits| waits.node), force)?;
            let ctx = self.gather(Arc::clone(&pipeline), request).map_err(RunError::from)?;
            let outlook = Outlook::new(&ctx);
            let mut is_news = false;
            for waits in &open {
                let Some(Some(Ok(resolved))) = outlook.resolved.get(waits.node) else { continue };
                let Lookup::Hit(hit) = &resolved.lookup else { continue };
                let failed = |error| UnfoldError::Loop { name: waits.name.clone(), error };
                let values = read(&*self.store, &*loops.unfold, waits, &hit.result.outputs).map_err(failed)?;
                is_news |= loops.known.insert(waits.name.clone(), values).is_none();
            }
            if !is_news {
                break;
            }
            let names: Vec<&str> = open.iter().map(|waits| waits.name.as_str()).collect();
            let failed = |error| UnfoldError::Loop { name: names.join("`, `"), error };
            pipeline = Arc::new(loops.unfold.unfold(&loops.known).map_err(failed)?);
        }
        Ok(Arc::unwrap_or_clone(pipeline))
    }
}

/// Reads the values of a loop from the outputs of the node that makes its table.
pub(crate) fn read<'o>(
    store: &dyn Store,
    unfold: &dyn Unfold,
    waits: &Waits,
    outputs: impl IntoIterator<Item = &'o OutputRecord>,
) -> Result<Vec<mlp_model::Value>, StepError> {
    let made = outputs.into_iter().find(|output| output.name == waits.output);
    let made = made.ok_or_else(|| bug("N6301", format!("loop `{}` goes over what nobody made", waits.name)))?;
    let object = store.object(&made.digest).map_err(|error| store_trouble(&error))?;
    let object = object.ok_or_else(|| {
        let message = format!("the table that loop `{}` goes over is missing or damaged", waits.name);
        StepError::new(ErrorClass::Environment, "N6107", message).with_help("run again: it is made once more")
    })?;
    unfold.values(&object, waits)
}

/// Returns the nodes that stand for a round of a loop whose values are not known: `network[117].model` may become one.
pub(crate) fn open_nodes(pipeline: &Pipeline, name: &str) -> Vec<usize> {
    let names: BTreeSet<&str> = pipeline.open_loops().iter().map(|waits| waits.name.as_str()).collect();
    let is_round = |of: &str| name.strip_prefix(of).is_some_and(|rest| rest.starts_with('['));
    let Some(of) = names.into_iter().find(|of| is_round(of)) else { return Vec::new() };
    let nodes = pipeline.nodes.iter().enumerate();
    nodes.filter(|(_, node)| node.waits().is_some_and(|waits| waits.name == of)).map(|(idx, _)| idx).collect()
}
