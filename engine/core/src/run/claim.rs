//! What follows when another run has executed a key that this one has claimed: looks again, and asks once more where that
//! did not help.

use std::sync::Arc;

use mlp_model::{Claim, Lease, StepError, StoreError, Take};
use tokio::sync::{mpsc, oneshot};

use super::drive::{CLAIM_PATIENCE, Message};
use crate::answer::answer;
use crate::context::Context;
use crate::fault::{panicked, store_trouble};
use crate::resolve::{self, Hit, Lookup, Resolved};

/// What came of a claim.
pub(crate) enum Grant {
    /// Nobody else executes the key as long as the lease is kept.
    Execute(Option<Lease>),
    /// Another run has executed it meanwhile.
    Reuse(Arc<Hit>),
}

/// Looks for the result of the other run and sends what came of the claim.
pub(crate) async fn look_again(
    ctx: Arc<Context>,
    (step, takes): (usize, Vec<Take>),
    resolved: Arc<Resolved>,
    tell: mpsc::UnboundedSender<Message>,
) {
    let mut was_finished_before = false;
    let result = loop {
        match look(&ctx, step, &resolved).await {
            Err(error) => break Err(error),
            Ok(Some(hit)) => break Ok(Grant::Reuse(hit)),
            // Another run finished the key, but its result does not serve us: it is forced here, or damaged again.
            Ok(None) if !was_finished_before => was_finished_before = true,
            Ok(None) => break Ok(Grant::Execute(None)),
        }
        match ask(&ctx, (step, takes.clone()), &resolved, &tell).await {
            Err(error) => break Err(store_trouble(&error)),
            Ok(Claim::Granted(lease)) => break Ok(Grant::Execute(Some(lease))),
            Ok(Claim::Finished) => {}
        }
    };
    let _ = tell.send(Message::Claimed { step, result });
}

async fn ask(
    ctx: &Context,
    (step, takes): (usize, Vec<Take>),
    resolved: &Resolved,
    tell: &mpsc::UnboundedSender<Message>,
) -> Result<Claim, StoreError> {
    let (answered, mut hear) = oneshot::channel();
    ctx.store.claim(resolved.id, takes, answer(move |claim| _ = answered.send(claim)));
    let claim = tokio::select! {
        claim = &mut hear => claim,
        () = tokio::time::sleep(CLAIM_PATIENCE) => {
            let _ = tell.send(Message::ClaimDelayed { step });
            hear.await
        }
    };
    claim.unwrap_or_else(|_| Err(StoreError::Owner { message: "it gave no answer".to_owned() }))
}

async fn look(ctx: &Arc<Context>, step: usize, resolved: &Arc<Resolved>) -> Result<Option<Arc<Hit>>, StepError> {
    let (ctx, resolved) = (Arc::clone(ctx), Arc::clone(resolved));
    let name = ctx.node(step).name.clone();
    let found = tokio::task::spawn_blocking(move || resolve::look_again(&ctx, step, &resolved)).await;
    match found.map_err(|_| panicked(&name))?.map_err(|error| store_trouble(&error))? {
        Some(Lookup::Hit(hit)) => Ok(Some(hit)),
        Some(Lookup::Miss(_)) | None => Ok(None),
    }
}
