//! One instance of a transform: is given batches, and whatever ends it is told in words for people.
//!
//! What a guest says may come from an enemy: its texts are cut, cleaned of control characters, and not shown at all where
//! they may hold values of personal columns. Unaware of tables and of where the component comes from.

use mlp_model::{ErrorClass, StepError};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store, Trap};

use crate::engine::{Bounds, Limits, Profile};
use crate::fail;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "transform",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub use bindings::mlp::transform::types as wit;

const MAX_FRAMES: usize = 24;
const MAX_PRINTED: usize = 200;

/// A running guest.
pub struct Guest {
    store: Store<Bounds>,
    world: bindings::Transform,
    limits: Limits,
    profile: Profile,
}

impl Guest {
    /// Makes an instance, connected to nothing.
    pub fn start(engine: &Engine, component: &Component, limits: Limits, profile: Profile) -> Result<Self, StepError> {
        if let Some(import) = first_import(engine, component) {
            let import = readable(&import, 100);
            return Err(fail::component(format!("it imports `{import}`, but a transform can reach nothing outside")));
        }
        let mut store = Bounds::store(engine, limits);
        refuel(&mut store, limits, profile)?;
        let linker = Linker::new(engine);
        match bindings::Transform::instantiate(&mut store, component, &linker) {
            Ok(world) => Ok(Self { store, world, limits, profile }),
            Err(error) if store.data().out_of_memory || error.downcast_ref::<Trap>().is_some() => {
                Err(ended(&error, store.data(), limits))
            }
            Err(error) => Err(fail::component(readable(&error.root_cause().to_string(), 300))),
        }
    }

    /// Gives the guest a batch. After an error, the guest must not be used again.
    pub fn map(
        &mut self,
        batch: wit::Batch<'_>,
        adds: &[wit::Field<'_>],
        params: &[wit::Parameter<'_>],
    ) -> Result<wit::Answer, StepError> {
        refuel(&mut self.store, self.limits, self.profile)?;
        let answer = self.world.call_map_rows(&mut self.store, batch, adds, params);
        answer.map_err(|error| ended(&error, self.store.data(), self.limits))
    }
}

fn refuel(store: &mut Store<Bounds>, limits: Limits, profile: Profile) -> Result<(), StepError> {
    match profile {
        Profile::Strict => store.set_fuel(limits.fuel_per_batch).map_err(fail::bug),
        Profile::Fast => Ok(()),
    }
}

/// Returns something that the component imports. An interface of types alone is nothing that anybody could call.
fn first_import(engine: &Engine, component: &Component) -> Option<String> {
    component.component_type().imports(engine).find_map(|(name, import)| match import.ty {
        ComponentItem::Type(_) => None,
        ComponentItem::ComponentInstance(instance) => {
            let callable = |item: &ComponentItem| !matches!(item, ComponentItem::Type(_));
            instance.exports(engine).any(|(_, export)| callable(&export.ty)).then(|| name.to_owned())
        }
        _ => Some(name.to_owned()),
    })
}

/// Says why the guest came to an end without an answer.
fn ended(error: &wasmtime::Error, bounds: &Bounds, limits: Limits) -> StepError {
    let step = |code, message: String, help: &str| StepError::new(ErrorClass::Step, code, message).with_help(help);
    if bounds.out_of_memory {
        let message = format!("the transform needs more than its {} of memory", bytes(limits.memory_bytes));
        let help = "send it fewer `columns`, or keep fewer values at a time in lists of its own";
        return step("W3207", message, help);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            let n = limits.fuel_per_batch;
            let message = format!("the transform did not end within {n} instructions for one batch");
            let help = "look for an endless loop; if it only needs longer, set `profile: fast` and a `timeout`";
            step("W3206", message, help)
        }
        Some(Trap::StackOverflow) => {
            let help = "look for a function that calls itself without end";
            step("W3208", "the transform ran out of stack".to_owned(), help)
        }
        Some(Trap::UnreachableCodeReached) => {
            let help = "a transform has no clock, randomness, files or network: see whether it, or a module that it \
                        uses, asks for one";
            step("W3205", "the transform was stopped: it did what it cannot do".to_owned(), help)
        }
        Some(trap) => {
            let help = "the transform's own code is at fault; try it with fewer rows";
            step("W3205", format!("the transform was stopped: {}", readable(&trap.to_string(), 200)), help)
        }
        None => {
            let cause = error.root_cause().to_string();
            if cause.contains("allocated for hostcalls") {
                let limit = bytes(limits.result_bytes);
                let message = format!("the transform returned more than {limit} for one batch");
                return step("W3209", message, "return shorter texts");
            }
            let message = format!("what the transform returned cannot be read: {}", readable(&cause, 200));
            step("W3209", message, "the component breaks its own interface; build it again with current tools")
        }
    }
}

/// What is needed to tell of an error in a batch.
pub struct Context<'a> {
    /// The path of the source, as a person knows it.
    pub shown: &'a str,
    pub source: &'a [u8],
    /// The row of the table at which the batch begins, from 0.
    pub first_row: u64,
    pub n_rows: usize,
    /// A personal column that the guest was given.
    pub personal: Option<&'a str>,
}

/// Says what the guest itself told of an error.
pub fn told(error: wit::Error, context: &Context<'_>) -> StepError {
    let Context { shown, source, personal, .. } = *context;
    let row = error.row.map(u64::from).filter(|row| *row < context.n_rows as u64);
    let row = row.map(|row| context.first_row + row + 1);
    let in_row = row.map(|row| format!(" in row {row}")).unwrap_or_default();
    let kind = readable(&error.kind, 80);
    let mut text = readable(&error.message, 500);
    let mut masked = None;
    if let Some(column) = personal
        && !matches!(error.cause, wit::Cause::WrongCall)
    {
        text.clear();
        masked = Some(format!("its text is not shown, because column `{column}` is personal"));
    }
    let because = if text.is_empty() { String::new() } else { format!(": {text}") };
    let (class, code, message, help) = match error.cause {
        wit::Cause::Refused => {
            let which = row.map_or("a row".to_owned(), |row| format!("row {row}"));
            let help = "mend the data, or let the transform deal with such rows";
            (ErrorClass::Data, "W3202", format!("`{shown}` refuses {which}{because}"), help)
        }
        wit::Cause::Failed => {
            let named = if kind.is_empty() { String::new() } else { format!(": {kind}") };
            let help = "the file runs in ordinary Python too: put `runners/wasm/sdk/python` on PYTHONPATH and try it";
            (ErrorClass::Step, "W3203", format!("`{shown}` failed{named}{because}"), help)
        }
        wit::Cause::WrongResult => {
            let help = "let the function return exactly the columns of `adds`, with one value for each row";
            let message = match &*text {
                "" => format!("`{shown}` returned something else than `adds` declares{in_row}"),
                text => format!("{text}{in_row}"),
            };
            (ErrorClass::Step, "W3204", message, help)
        }
        wit::Cause::WrongCall => {
            let help = "compare `columns` and `params` of the step with what the function takes";
            (ErrorClass::User, "W3210", format!("`{shown}` cannot be called like this{because}{in_row}"), help)
        }
    };
    let places: Vec<_> = error.frames.into_iter().map(|f| Place { line: f.line, function: f.function }).collect();
    let mut detail = traceback(&places, shown, source);
    detail.extend(masked);
    let mut told = StepError::new(class, code, message).with_detail(detail).with_help(help);
    told.row = row;
    told.column = error.column.filter(|_| personal.is_none()).map(|column| readable(&column, 100));
    told
}

/// Returns the lines that a guest printed, fit to be shown.
pub fn printed(lines: &[String], personal: Option<&str>) -> Vec<String> {
    match personal {
        Some(column) if !lines.is_empty() => {
            let (n, are) = (lines.len(), if lines.len() == 1 { "line is" } else { "lines are" });
            vec![format!("{n} printed {are} not shown, because column `{column}` is personal")]
        }
        _ => lines.iter().take(MAX_PRINTED).map(|line| readable(line, 500)).collect(),
    }
}

/// A place in the source, as a guest tells it.
pub struct Place {
    /// From 1; 0 where it is unknown.
    pub line: u32,
    pub function: String,
}

/// Shows where in the source it happened, with the lines themselves; the innermost place comes last, as in Python.
pub fn traceback(places: &[Place], shown: &str, source: &[u8]) -> Vec<String> {
    let source = String::from_utf8_lossy(source);
    let mut lines = Vec::new();
    for place in places.iter().take(MAX_FRAMES) {
        // Names of functions are shown where they stand in the source; others could be made of data.
        let named = !place.function.is_empty() && source.contains(place.function.as_str());
        let function = if named { format!(", in `{}`", readable(&place.function, 80)) } else { String::new() };
        lines.push(format!("`{shown}`, line {}{function}", place.line));
        let code = (place.line as usize).checked_sub(1).and_then(|index| source.lines().nth(index));
        lines.extend(code.map(|code| format!("    {}", readable(code.trim(), 200))));
    }
    lines
}

/// Makes foreign text safe to show: one line, no control characters, at most `max_chars` long.
pub fn readable(text: &str, max_chars: usize) -> String {
    let shown = |c: char| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut out: String = text.trim().chars().take(max_chars).map(|c| if shown(c) { c } else { ' ' }).collect();
    if text.trim().chars().nth(max_chars).is_some() {
        out.push('…');
    }
    out
}

fn bytes(n: usize) -> String {
    if n >= 1 << 20 { format!("{} MiB", n >> 20) } else { format!("{n} bytes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(cause: wit::Cause) -> wit::Error {
        wit::Error {
            cause,
            kind: "ValueError".into(),
            message: "could not convert 'Jane Doe'\u{1b}[2J".into(),
            row: Some(2),
            column: Some("name".into()),
            frames: vec![wit::Frame { file: "<transform>".into(), line: 2, function: "clean".into() }],
        }
    }

    fn context(personal: Option<&str>) -> Context<'_> {
        let source = b"def clean(t):\n    return int(t)\n";
        Context { shown: "t.py", source, first_row: 65_536, n_rows: 10, personal }
    }

    #[test]
    fn an_exception_is_told_with_the_line_it_comes_from() {
        let told = told(error(wit::Cause::Failed), &context(None));
        assert_eq!(told.message, "`t.py` failed: ValueError: could not convert 'Jane Doe' [2J");
        assert_eq!(told.detail, ["`t.py`, line 2, in `clean`", "    return int(t)"]);
        assert_eq!(told.row, Some(65_539));
    }

    #[test]
    fn texts_of_a_guest_with_personal_columns_are_not_shown() {
        for cause in [wit::Cause::Failed, wit::Cause::Refused, wit::Cause::WrongResult] {
            let told = told(error(cause), &context(Some("name")));
            let all = format!("{told:?}");
            assert!(!all.contains("Jane") && all.contains("`name` is personal") && told.row == Some(65_539), "{all}");
        }
        assert_eq!(
            printed(&["Jane".into(), "Doe".into()], Some("name")),
            ["2 printed lines are not shown, because column `name` is personal"]
        );
    }

    #[test]
    fn a_row_outside_the_batch_is_not_believed() {
        let mut error = error(wit::Cause::Refused);
        error.row = Some(10);
        assert_eq!(told(error, &context(None)).row, None);
    }
}
