//! How long an editor waits after a keystroke in a file of 10,000 steps, message out to answer in.
//!
//! `cargo bench -p mlp-lsp`, or `cargo test -p mlp-lsp --bench keystroke` for the profile of the tests. Fails when the median
//! of an answer is over 50 ms. Diagnostics come from a thread of their own and are measured apart.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write;
use std::time::{Duration, Instant};

use ls_types::request::*;
use ls_types::*;
use support::Editor;

const N_STEPS: usize = 10_000;
const N_KEYSTROKES: usize = 60;
const MOST: Duration = Duration::from_millis(50);

fn text() -> String {
    let mut text = support::CHURN.to_owned();
    for i in 0..N_STEPS / 4 {
        writeln!(text, "/// Splits them.\nstep parts_{i} = table.split(raw, test: 0.2)").unwrap();
        writeln!(text, "step model_{i} = torch.train(parts_{i}.train, target: Churn, net: torch.mlp([64, 32]), epochs, lr)\n  with {{ timeout: 30m, retries: 2 }}").unwrap();
        writeln!(text, "step quality_{i} = eval.binary(model_{i}, parts_{i}.test)").unwrap();
        writeln!(text, "step head_{i} = table.head(parts_{i}.train, rows: 10) // the first").unwrap();
    }
    text
}

fn main() {
    let text = text();
    let line = text.lines().position(|line| line.starts_with(&format!("step quality_{} ", N_STEPS / 8))).unwrap();
    let line = u32::try_from(line).unwrap();
    let name = format!("step quality_{} = eval.binary(", N_STEPS / 8);
    let column = u32::try_from(name.len()).unwrap();
    println!("{} bytes, {} lines", text.len(), text.lines().count());
    let mut editor = Editor::start();
    let started = Instant::now();
    editor.open(&text);
    let found = editor.diagnostics();
    println!("opened and checked in {:?}, {} diagnostics", started.elapsed(), found.diagnostics.len());
    assert_eq!(found.diagnostics, []);

    let at = Position { line, character: column };
    let seen =
        Range { start: Position { line: line - 30, character: 0 }, end: Position { line: line + 30, character: 0 } };
    let mut failed = false;
    let mut measure = |what: &str, ask: &mut dyn FnMut(&mut Editor, Position)| {
        // Not while the last texts are still being checked.
        std::thread::sleep(Duration::from_millis(300));
        let mut times: Vec<Duration> = (0..N_KEYSTROKES)
            .map(|i| {
                // One letter is typed or taken away again.
                let behind = Position { character: column + 1, ..at };
                let started = Instant::now();
                if i % 2 == 0 {
                    editor.change(Range { start: at, end: at }, "m");
                } else {
                    editor.change(Range { start: at, end: behind }, "");
                }
                ask(&mut editor, if i % 2 == 0 { behind } else { at });
                started.elapsed()
            })
            .collect();
        times.sort();
        let (median, p95) = (times[times.len() / 2], times[times.len() * 95 / 100]);
        println!("{what:32} median {:7.2} ms, p95 {:7.2} ms", median.as_secs_f64() * 1e3, p95.as_secs_f64() * 1e3);
        median
    };
    let work = WorkDoneProgressParams::default;
    let partial = PartialResultParams::default;
    let medians = [
        measure("completion", &mut |editor, at| {
            let answer = editor.ask::<Completion>(CompletionParams {
                text_document_position: editor.at(at),
                context: None,
                work_done_progress_params: work(),
                partial_result_params: partial(),
            });
            assert!(matches!(answer, Some(CompletionResponse::List(list)) if !list.items.is_empty()));
        }),
        measure("signature help", &mut |editor, at| {
            let answer = editor.ask::<SignatureHelpRequest>(SignatureHelpParams {
                context: None,
                text_document_position_params: editor.at(at),
                work_done_progress_params: work(),
            });
            assert!(answer.is_some());
        }),
        measure("hover", &mut |editor, _| {
            let answer = editor.ask::<HoverRequest>(HoverParams {
                text_document_position_params: editor.at(Position { line, character: 6 }),
                work_done_progress_params: work(),
            });
            assert!(answer.is_some());
        }),
        measure("colours of what is seen", &mut |editor, _| {
            let answer = editor.ask::<SemanticTokensRangeRequest>(SemanticTokensRangeParams {
                text_document: editor.document(),
                range: seen,
                work_done_progress_params: work(),
                partial_result_params: partial(),
            });
            assert!(answer.is_some());
        }),
        measure("hints of what is seen", &mut |editor, _| {
            let answer = editor.ask::<InlayHintRequest>(InlayHintParams {
                text_document: editor.document(),
                range: seen,
                work_done_progress_params: work(),
            });
            assert!(answer.is_some_and(|hints| !hints.is_empty()));
        }),
        measure("highlights", &mut |editor, _| {
            let answer = editor.ask::<DocumentHighlightRequest>(DocumentHighlightParams {
                text_document_position_params: editor.at(Position { line, character: 6 }),
                work_done_progress_params: work(),
                partial_result_params: partial(),
            });
            assert!(answer.is_some());
        }),
    ];
    failed |= medians.into_iter().any(|median| median > MOST);
    // What editors ask for when typing pauses.
    let mut previous = None;
    measure("colours as a difference", &mut |editor, _| match previous.take() {
        Some(previous_result_id) => {
            let answer = editor.ask::<SemanticTokensFullDeltaRequest>(SemanticTokensDeltaParams {
                text_document: editor.document(),
                previous_result_id,
                work_done_progress_params: work(),
                partial_result_params: partial(),
            });
            match answer {
                Some(SemanticTokensFullDeltaResult::TokensDelta(delta)) => previous = delta.result_id,
                other => panic!("{other:?}"),
            }
        }
        None => previous = editor.colours().result_id,
    });
    measure("whole outline", &mut |editor, _| {
        let id = editor.send::<DocumentSymbolRequest>(DocumentSymbolParams {
            text_document: editor.document(),
            work_done_progress_params: work(),
            partial_result_params: partial(),
        });
        assert!(editor.answer(id).is_ok());
    });
    measure("diagnostics", &mut |editor, _| drop(editor.diagnostics()));
    assert!(!failed, "an answer takes longer than {MOST:?}");
}
