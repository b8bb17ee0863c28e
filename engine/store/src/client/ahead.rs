//! Asks for many steps at once what will be asked for each of them next: a question costs three changes of threads, its
//! answer hardly anything.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::channel;

use mlp_model::{Digest, KeyId, OutputRecord, RunId, StepId, StepResult, Stored};

use super::link::Answered;
use super::{Answer, Client, Request};
use crate::failure::lock;
use crate::foreseen::{self, Foreseen, Kept};
use crate::objects::Found;

/// How many steps are asked for in one question; several questions are under way at a time.
const SHARE: usize = 2048;

/// Answers that wait to be asked for. Each is given once: what is asked again is asked of the owner.
#[derive(Default)]
pub(super) struct Ahead {
    pub results: HashMap<KeyId, Option<(u64, RunId, StepResult)>>,
    /// Objects that are there and whole.
    pub present: HashSet<Digest>,
    /// Steps without any history.
    pub new_steps: HashSet<StepId>,
    /// The newest record of steps.
    pub newest: HashMap<StepId, Option<Stored>>,
}

impl Client {
    /// Whatever the owner does not answer is asked again one by one, and the error told then.
    pub(super) fn ask_ahead(&self, asked: &[(KeyId, StepId)]) -> Vec<Option<Vec<OutputRecord>>> {
        if let [(key, _)] = asked
            && let Some(known) = lock(&self.foreseen).results.get(key)
        {
            return vec![known.as_ref().map(|(_, _, result)| result.outputs.clone())];
        }
        let mut answers = Vec::new();
        for share in asked.chunks(SHARE) {
            let (sender, receiver) = channel();
            let request = Request::Foresee { asked: share.to_vec() };
            // Read by the thread that reads the socket, while others go on.
            let sink = move |answered: Answered| {
                let bytes = answered.ok().filter(|(answer, _)| *answer == Answer::Foreseen).map(|(_, bytes)| bytes);
                _ = sender.send(bytes.and_then(|bytes| foreseen::decode(&bytes)));
            };
            self.link.ask(request, Vec::new(), Box::new(sink));
            answers.push((share, receiver));
        }
        let mut outputs = Vec::with_capacity(asked.len());
        for (share, receiver) in answers {
            match receiver.recv() {
                Ok(Some(foreseen)) if foreseen.len() == share.len() => {
                    let results = foreseen.iter().filter_map(|step| step.result.as_ref());
                    let made = results.flat_map(|(_, _, result)| &result.outputs);
                    self.link.rely_on(made.map(|output| output.digest));
                    outputs.extend(share.iter().zip(foreseen).map(|(asked, foreseen)| self.remember(asked, foreseen)));
                }
                _ => outputs.extend(share.iter().map(|_| None)),
            }
        }
        outputs
    }

    /// Asks for the newest record of each step.
    pub(super) fn ask_histories(&self, steps: &[StepId]) {
        let mut answers = Vec::new();
        for share in steps.chunks(SHARE) {
            let (sender, receiver) = channel();
            let request = Request::NewestRecords { steps: share.to_vec() };
            self.link.ask(request, Vec::new(), Box::new(move |answered| _ = sender.send(answered)));
            answers.push((share, receiver));
        }
        for (share, receiver) in answers {
            if let Ok(Ok((Answer::NewestRecords(newest), _))) = receiver.recv()
                && newest.len() == share.len()
            {
                lock(&self.foreseen).newest.extend(share.iter().cloned().zip(newest));
            }
        }
    }

    fn remember(&self, (key, step): &(KeyId, StepId), foreseen: Foreseen) -> Option<Vec<OutputRecord>> {
        let Foreseen { result, kept, has_history } = foreseen;
        let outputs = result.as_ref().map(|(_, _, result)| result.outputs.clone());
        let mut ahead = lock(&self.foreseen);
        for (output, kept) in outputs.iter().flatten().zip(kept) {
            match kept {
                Kept::Inline => _ = ahead.present.insert(output.digest),
                // The stamp is compared with what stands there now.
                Kept::File(stamp) => {
                    if self.objects.find(&output.digest) == Ok(Found::Unverified(stamp)) {
                        self.objects.trust(&output.digest, stamp, false);
                        ahead.present.insert(output.digest);
                    }
                }
                Kept::Unknown => {}
            }
        }
        if !has_history {
            ahead.new_steps.insert(step.clone());
        }
        ahead.results.insert(*key, result);
        outputs
    }
}
