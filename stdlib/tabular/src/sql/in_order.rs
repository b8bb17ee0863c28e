//! Reads the partitions of a plan one after the other.
//!
//! `union all` has a partition for each of its inputs even where one partition is asked for, and DataFusion merges them as
//! they come. Here their order is that of the query.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};

/// Replaces every node that merges partitions as they come, and makes one partition of the result.
pub(super) fn in_order(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let replaced = plan.transform_up(|node| match node.downcast_ref::<CoalescePartitionsExec>() {
        Some(merge) => Ok(Transformed::yes(InOrder::over(merge.input().clone(), merge.fetch()))),
        None => Ok(Transformed::no(node)),
    });
    let plan = replaced.data()?;
    let n_partitions = plan.output_partitioning().partition_count();
    Ok(if n_partitions > 1 { InOrder::over(plan, None) } else { plan })
}

#[derive(Debug)]
struct InOrder {
    input: Arc<dyn ExecutionPlan>,
    /// How many rows to take.
    fetch: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl InOrder {
    fn over(input: Arc<dyn ExecutionPlan>, fetch: Option<usize>) -> Arc<dyn ExecutionPlan> {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(1),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Arc::new(Self { input, fetch, properties: Arc::new(properties) })
    }
}

impl DisplayAs for InOrder {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("InOrder")
    }
}

impl ExecutionPlan for InOrder {
    fn name(&self) -> &str {
        "InOrder"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Self::over(input, self.fetch)),
            _ => Err(DataFusionError::Internal("InOrder has one input".into())),
        }
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.clone();
        let n_partitions = input.output_partitioning().partition_count();
        let partitions = futures::stream::iter(0..n_partitions);
        let partitions = partitions.map(move |partition| input.execute(partition, context.clone()));
        let fetch = self.fetch.unwrap_or(usize::MAX);
        let batches = partitions.try_flatten().scan(fetch, |n_left, batch| {
            let batch = match batch {
                _ if *n_left == 0 => None,
                Ok(batch) => {
                    let n_rows = batch.num_rows().min(*n_left);
                    *n_left -= n_rows;
                    Some(Ok(batch.slice(0, n_rows)))
                }
                Err(error) => Some(Err(error)),
            };
            futures::future::ready(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
