//! What must not go into the journal as it is.

use mlp_model::Record;

/// JSON has no numbers that are not finite; they would make a record unreadable.
pub(super) fn make_finite(records: &mut [Record]) {
    for record in records {
        match record {
            Record::StepFinished { result, .. } => {
                result.facts.retain(|_, fact| fact.is_finite());
                result.seconds = if result.seconds.is_finite() { result.seconds } else { 0.0 };
            }
            Record::RunFinished { seconds, .. } => *seconds = if seconds.is_finite() { *seconds } else { 0.0 },
            _ => {}
        }
    }
}

/// What a program printed before it failed may be anything, and the journal is not encrypted. The log has it.
pub(super) fn leave_out_what_was_printed(records: &mut [Record]) {
    for record in records {
        if let Record::StepFailed { error, .. } = record {
            error.detail.clear();
        }
    }
}
