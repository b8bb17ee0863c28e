//! Compares two checked pipelines: what would run again, and what only decides or runs differently.
//!
//! A step is the same when its operation, parameters and inputs are, whatever it is called: that is what its cache key
//! is made of. Whether a step below a changed one really runs depends on the bytes that come back, which nobody knows here.

use std::collections::{BTreeMap, BTreeSet};

use mlp_model::{
    Call, FirstRelease, Gate, Input, Node, NodeKind, OnFailure, Options, Part, Pipeline, Release, Type, Value,
};

/// One thing that changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    pub name: String,
    /// It makes a model.
    pub trains: bool,
    /// It makes reports alone, or the scores that a report is made from.
    pub reports: bool,
    pub why: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Difference {
    /// Would run again, or for the first time.
    pub steps: Vec<Change>,
    pub gone: Vec<Change>,
    pub decisions: Vec<Change>,
    pub options: Vec<Change>,
    pub params: Vec<Change>,
    pub renamed: Vec<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Nothing,
    Decisions,
    Reports,
    Steps,
    Retrains,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Decisions => "decisions",
            Self::Reports => "reports",
            Self::Steps => "steps",
            Self::Retrains => "retrains",
        }
    }
}

impl Difference {
    pub fn verdict(&self) -> Verdict {
        if self.retrained().next().is_some() {
            Verdict::Retrains
        } else if !self.steps.is_empty() {
            if self.steps.iter().all(|change| change.reports) { Verdict::Reports } else { Verdict::Steps }
        } else if [&self.decisions, &self.options, &self.gone, &self.params].iter().any(|changes| !changes.is_empty()) {
            Verdict::Decisions
        } else {
            Verdict::Nothing
        }
    }

    pub fn retrained(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter(|change| change.trains).map(|change| change.name.as_str())
    }
}

pub fn compare(old: &Pipeline, new: &Pipeline) -> Difference {
    let (before, after) = (Meanings::of(old), Meanings::of(new));
    let mut difference = Difference::default();
    let known: BTreeMap<usize, usize> = steps(&before, &after, &mut difference);
    for (_, node) in nodes(old, |kind| !matches!(kind, NodeKind::Call(_))) {
        if !new.nodes.iter().any(|other| other.name == node.name && is_alike(other, node)) {
            difference.decisions.push(change(&node.name, "it is gone"));
        }
    }
    for node in &new.nodes {
        let counterpart = old.nodes.iter().find(|other| other.name == node.name && is_alike(other, node));
        let why = match (&node.kind, counterpart.map(|other| &other.kind)) {
            (NodeKind::Call(_), _) => continue,
            (_, None) => vec!["it is new".to_owned()],
            (NodeKind::Gate(gate), Some(NodeKind::Gate(other))) => gate_changes(other, gate, old, new),
            (NodeKind::Release(release), Some(NodeKind::Release(other))) => {
                release_changes(other, release, old, new, &known)
            }
            _ => Vec::new(),
        };
        if !why.is_empty() {
            difference.decisions.push(Change { name: node.name.clone(), trains: false, reports: false, why });
        }
    }
    params(old, new, &mut difference);
    difference
}

/// Compares sources and steps. Returns the old node of each new one that means the same.
fn steps(before: &Meanings<'_>, after: &Meanings<'_>, difference: &mut Difference) -> BTreeMap<usize, usize> {
    let mut known = BTreeMap::new();
    let mut kept: BTreeSet<usize> = BTreeSet::new();
    for (i, node) in nodes(after.pipeline, |kind| matches!(kind, NodeKind::Call(_))) {
        let same = |j: &usize| before.texts[*j] == after.texts[i];
        let by_name = before.pipeline.node(&node.name).map(|(j, _)| j);
        let found = by_name.filter(same).or_else(|| (0..before.texts.len()).find(same));
        if let Some(j) = found {
            known.insert(i, j);
            kept.insert(j);
        }
    }
    for (i, node) in nodes(after.pipeline, |kind| matches!(kind, NodeKind::Call(_))) {
        let NodeKind::Call(call) = &node.kind else { continue };
        let counterpart = before.pipeline.node(&node.name);
        if let Some(j) = known.get(&i) {
            let old = &before.pipeline.nodes[*j];
            if old.name != node.name && !after.pipeline.nodes.iter().any(|other| other.name == old.name) {
                difference.renamed.push(change(&node.name, &format!("was `{}`", old.name)));
            }
            let NodeKind::Call(other) = &old.kind else { continue };
            let mut why = Vec::new();
            // Gates are meant by their names: their places in the file say nothing. What is collected follows from loops.
            let own = |call: &Call| Options { gates: Vec::new(), collects: BTreeSet::new(), ..call.options.clone() };
            if own(other) != own(call) {
                why.extend(options(other, call));
            }
            let (gates_before, gates_after) = (gates(before.pipeline, other), gates(after.pipeline, call));
            if gates_before != gates_after {
                why.push(format!("it waits for {gates_after} instead of {gates_before}"));
            }
            if !why.is_empty() {
                difference.options.push(Change { name: node.name.clone(), trains: false, reports: false, why });
            }
            continue;
        }
        let why = match counterpart.map(|(_, other)| &other.kind) {
            Some(NodeKind::Call(other)) => call_changes(other, call, before, after, &known),
            _ => vec!["it is new".to_owned()],
        };
        let trains = call.outputs.iter().any(|output| matches!(output.ty, Type::Model(_)));
        let is_report =
            !call.outputs.is_empty() && call.outputs.iter().all(|output| matches!(output.ty, Type::Report(_)));
        let reports = is_report || node.name.ends_with(".predictions");
        difference.steps.push(Change { name: node.name.clone(), trains, reports, why });
    }
    for (j, node) in nodes(before.pipeline, |kind| matches!(kind, NodeKind::Call(_))) {
        let is_there = after.pipeline.nodes.iter().any(|other| other.name == node.name && is_alike(other, node));
        if !kept.contains(&j) && !is_there {
            difference.gone.push(Change { name: node.name.clone(), trains: false, reports: false, why: Vec::new() });
        }
    }
    known
}

fn nodes(pipeline: &Pipeline, wanted: fn(&NodeKind) -> bool) -> impl Iterator<Item = (usize, &Node)> {
    pipeline.nodes.iter().enumerate().filter(move |(_, node)| wanted(&node.kind))
}

fn is_alike(a: &Node, b: &Node) -> bool {
    std::mem::discriminant(&a.kind) == std::mem::discriminant(&b.kind)
}

fn change(name: &str, why: &str) -> Change {
    Change { name: name.to_owned(), trains: false, reports: false, why: vec![why.to_owned()] }
}

/// What each call means: a text that is equal for calls that give the same.
struct Meanings<'a> {
    pipeline: &'a Pipeline,
    /// By node; that of a gate or release is its own and equals no other.
    texts: Vec<String>,
}

impl<'a> Meanings<'a> {
    fn of(pipeline: &'a Pipeline) -> Self {
        let mut texts: Vec<Option<String>> = vec![None; pipeline.nodes.len()];
        for node in 0..pipeline.nodes.len() {
            settle(pipeline, node, &mut texts);
        }
        Self { pipeline, texts: texts.into_iter().map(Option::unwrap_or_default).collect() }
    }
}

/// Finds the meaning of a node after those it reads, with a stack of its own: chains of steps may be long.
fn settle(pipeline: &Pipeline, node: usize, texts: &mut [Option<String>]) {
    let mut open = vec![node];
    while let Some(node) = open.last().copied() {
        let NodeKind::Call(call) = &pipeline.nodes[node].kind else {
            texts[node] = Some(format!("decision {:p}", &raw const pipeline.nodes[node]));
            open.pop();
            continue;
        };
        let needed: Vec<usize> = call
            .inputs
            .values()
            .filter_map(|input| if let Input::Output { node, .. } = input { Some(*node) } else { None })
            .filter(|node| texts[*node].is_none())
            .collect();
        if !needed.is_empty() {
            open.extend(needed);
            continue;
        }
        let mut inputs = String::new();
        for (name, input) in &call.inputs {
            let from = match input {
                // The digest of a text keeps texts short, however long the chain is.
                Input::Output { node, output } => {
                    let text = texts[*node].as_deref().unwrap_or_default();
                    format!("{}.{output}", mlp_model::Digest::of(text.as_bytes()))
                }
                Input::Path { shown, folder, .. } => format!("path {shown} {folder}"),
                Input::Champion { release, part } => format!("champion {release} {part}"),
            };
            inputs.push_str(&format!("{name} = {from}; "));
        }
        let params: BTreeMap<&str, String> = call.params.iter().map(|(name, value)| (name, meaning(value))).collect();
        texts[node] = Some(format!("{} {} {params:?} {inputs}", call.op, call.op_version));
        open.pop();
    }
}

/// Returns a value as it counts: the name of a schema does not.
fn meaning(value: &Value) -> String {
    match value.as_schema() {
        Some(schema) => format!("{} {:?}", schema.open, schema.columns),
        None => value.to_string(),
    }
}

fn call_changes(
    old: &Call,
    new: &Call,
    before: &Meanings<'_>,
    after: &Meanings<'_>,
    known: &BTreeMap<usize, usize>,
) -> Vec<String> {
    if old.op != new.op {
        return vec![format!("it calls `{}` instead of `{}`", new.op, old.op)];
    }
    let mut why = Vec::new();
    if old.op_version != new.op_version {
        why.push(format!("`{}` is version {} instead of {}", new.op, new.op_version, old.op_version));
    }
    for name in all_of(old.params.keys(), new.params.keys()) {
        match (old.params.get(name), new.params.get(name)) {
            (Some(a), Some(b)) if meaning(a) != meaning(b) => why.push(value_change(name, a, b)),
            (None, Some(b)) => why.push(format!("`{name}` is {}", short(&b.to_string()))),
            (Some(_), None) => why.push(format!("`{name}` is gone")),
            _ => {}
        }
    }
    for name in all_of(old.inputs.keys(), new.inputs.keys()) {
        let (a, b) = (old.inputs.get(name), new.inputs.get(name));
        match (a, b) {
            (Some(Input::Output { node: i, output: x }), Some(Input::Output { node: j, output: y })) => {
                if known.get(j) == Some(i) && x == y {
                    continue;
                }
                let (from, to) = (path(before.pipeline, *i, x), path(after.pipeline, *j, y));
                if from == to {
                    why.push(format!("`{to}` would run again"));
                } else {
                    why.push(format!("`{name}` is `{to}` instead of `{from}`"));
                }
            }
            (Some(a), Some(b)) if source(a, before) != source(b, after) => {
                why.push(format!("`{name}` is {} instead of {}", source(b, after), source(a, before)));
            }
            (None, Some(b)) => why.push(format!("it also reads {} as `{name}`", source(b, after))),
            (Some(_), None) => why.push(format!("it no longer reads `{name}`")),
            _ => {}
        }
    }
    why
}

fn source(input: &Input, side: &Meanings<'_>) -> String {
    match input {
        Input::Output { node, output } => format!("`{}`", path(side.pipeline, *node, output)),
        Input::Path { shown, .. } => format!("`{shown}`"),
        Input::Champion { release, part } => format!("part `{part}` of the live `{release}`"),
    }
}

fn path(pipeline: &Pipeline, node: usize, output: &str) -> String {
    let name = pipeline.nodes.get(node).map_or("?", |node| node.name.as_str());
    if output == "out" { name.to_owned() } else { format!("{name}.{output}") }
}

fn value_change(name: &str, old: &Value, new: &Value) -> String {
    if let (Some(a), Some(b)) = (old.as_schema(), new.as_schema()) {
        let of = |columns: &[mlp_model::Column]| -> BTreeMap<String, String> {
            columns.iter().map(|column| (column.name.clone(), format!("{column:?}"))).collect()
        };
        let (a_columns, b_columns) = (of(&a.columns), of(&b.columns));
        let mut changed: Vec<String> = all_of(a_columns.keys(), b_columns.keys())
            .into_iter()
            .filter(|name| a_columns.get(*name) != b_columns.get(*name))
            .map(|name| format!("`{name}`"))
            .collect();
        if changed.is_empty() {
            return format!("the order of columns, or whether more may pass, changed in `{}`", b.name);
        }
        let more = changed.len().saturating_sub(6);
        changed.truncate(6);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return format!("`{name}`: columns {}{more} of `{}` changed", changed.join(", "), b.name);
    }
    format!("`{name}` is {} instead of {}", short(&new.to_string()), short(&old.to_string()))
}

/// Shortens a value for a line: texts of programs and queries are long.
fn short(text: &str) -> String {
    const MOST: usize = 60;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MOST {
        return line;
    }
    format!("{} ..", line.chars().take(MOST).collect::<String>())
}

fn all_of<'m, N: AsRef<str> + ?Sized + 'm>(
    old: impl Iterator<Item = &'m N>,
    new: impl Iterator<Item = &'m N>,
) -> BTreeSet<&'m str> {
    old.chain(new).map(AsRef::as_ref).collect()
}

/// Names the gates of an effect, in any order of the file.
fn gates(pipeline: &Pipeline, call: &Call) -> String {
    let names: BTreeSet<String> = call
        .options
        .gates
        .iter()
        .filter_map(|gate| Some(format!("gate `{}`", pipeline.nodes.get(*gate)?.name)))
        .collect();
    if names.is_empty() { "no gate".to_owned() } else { names.into_iter().collect::<Vec<_>>().join(" and ") }
}

fn options(old: &Call, new: &Call) -> Vec<String> {
    let mut why = Vec::new();
    if old.options.timeout != new.options.timeout {
        let shown = |timeout: Option<std::time::Duration>| timeout.map_or("none".to_owned(), |t| format!("{t:?}"));
        why.push(format!("timeout is {} instead of {}", shown(new.options.timeout), shown(old.options.timeout)));
    }
    if old.options.retries != new.options.retries {
        why.push(format!("retries is {} instead of {}", new.options.retries, old.options.retries));
    }
    if old.options.on_failure != new.options.on_failure {
        let shown = |call: &Call| match call.options.on_failure {
            OnFailure::Stop => "stops the run",
            OnFailure::Skip => "is tolerated",
        };
        why.push(format!("its failure {}; before, it {}", shown(new), shown(old)));
    }
    if old.options.skip != new.options.skip {
        let shown =
            |skip: &Option<String>| skip.as_ref().map_or("runs".to_owned(), |reason| format!("is skipped ({reason})"));
        why.push(format!("it {}; before, it {}", shown(&new.options.skip), shown(&old.options.skip)));
    }
    if old.options.rounds != new.options.rounds {
        let shown = |call: &Call| match call.options.rounds.first() {
            Some(round) => format!("{} failed rounds of `{}` are", round.tolerated, round.of),
            None => "no failed round is".to_owned(),
        };
        why.push(format!("{} tolerated; before, {}", shown(new), shown(old)));
    }
    if why.is_empty() {
        why.push("options changed".into());
    }
    why
}

fn gate_changes(old: &Gate, new: &Gate, old_pipeline: &Pipeline, new_pipeline: &Pipeline) -> Vec<String> {
    let mut why = Vec::new();
    // What is compared, with the numbers of nodes replaced by their names.
    let shown = |check: &mlp_model::Check, pipeline: &Pipeline| {
        let side = |expr| numbers(expr, pipeline);
        format!("{} {:?} {}", side(&check.left), check.comparison, side(&check.right))
    };
    for check in &new.checks {
        match old.checks.iter().find(|other| other.name == check.name) {
            None => why.push(format!("check `{}` is new: {}", check.name, check.text)),
            Some(other) if shown(other, old_pipeline) != shown(check, new_pipeline) => {
                if other.text == check.text {
                    why.push(format!("check `{}`: a value in `{}` changed", check.name, check.text));
                } else {
                    why.push(format!("check `{}`: `{}` instead of `{}`", check.name, check.text, other.text));
                }
            }
            Some(_) => {}
        }
    }
    for check in old.checks.iter().filter(|check| !new.checks.iter().any(|other| other.name == check.name)) {
        why.push(format!("check `{}` is gone: {}", check.name, check.text));
    }
    if old.first != new.first {
        let shown = |first: &Option<FirstRelease>| match first {
            None => "unsaid".to_owned(),
            Some(FirstRelease::Refuse) => "`refuse`".to_owned(),
            Some(FirstRelease::Only(names)) => format!("`{} only`", names.join(" ")),
        };
        why.push(format!("`first` is {} instead of {}", shown(&new.first), shown(&old.first)));
    }
    why
}

fn numbers(expr: &mlp_model::NumExpr, pipeline: &Pipeline) -> String {
    use mlp_model::NumExpr;
    let two = |op: &str, a, b| format!("({} {op} {})", numbers(a, pipeline), numbers(b, pipeline));
    match expr {
        NumExpr::Number(n) => n.to_string(),
        NumExpr::Metric { node, metric } => format!("{}.{metric}", path(pipeline, *node, "out")),
        NumExpr::Negate(inner) => format!("-{}", numbers(inner, pipeline)),
        NumExpr::Add(a, b) => two("+", a, b),
        NumExpr::Subtract(a, b) => two("-", a, b),
        NumExpr::Multiply(a, b) => two("*", a, b),
        NumExpr::Divide(a, b) => two("/", a, b),
        NumExpr::Fold { fold, of } => {
            let of: Vec<_> = of.iter().map(|expr| numbers(expr, pipeline)).collect();
            format!("{}({})", format!("{fold:?}").to_lowercase(), of.join(", "))
        }
    }
}

fn release_changes(
    old: &Release,
    new: &Release,
    old_pipeline: &Pipeline,
    new_pipeline: &Pipeline,
    known: &BTreeMap<usize, usize>,
) -> Vec<String> {
    let mut why = Vec::new();
    let shown = |part: &Part, pipeline: &Pipeline| match part {
        Part::Output { node, output } => format!("`{}`", path(pipeline, *node, output)),
        Part::Transform { node } => format!("step `{}`", path(pipeline, *node, "out")),
        Part::Value(value) => meaning(value),
    };
    for name in all_of(old.parts.keys(), new.parts.keys()) {
        match (old.parts.get(name), new.parts.get(name)) {
            (Some(a), Some(b)) => {
                // A part that means another artifact is told with the step that makes it.
                let is_same = match (a, b) {
                    (Part::Output { node: i, output: x }, Part::Output { node: j, output: y }) => {
                        known.get(j) == Some(i) && x == y
                    }
                    (Part::Transform { node: i }, Part::Transform { node: j }) => known.get(j) == Some(i),
                    _ => false,
                };
                let (from, to) = (shown(a, old_pipeline), shown(b, new_pipeline));
                if !is_same && from != to {
                    why.push(format!("part `{name}` is {} instead of {}", short(&to), short(&from)));
                }
            }
            (None, Some(b)) => why.push(format!("part `{name}` is new: {}", short(&shown(b, new_pipeline)))),
            (Some(_), None) => why.push(format!("part `{name}` is gone")),
            (None, None) => {}
        }
    }
    let gates = |release: &Release, pipeline: &Pipeline| -> BTreeSet<String> {
        release.gates.iter().map(|gate| path(pipeline, *gate, "out")).collect()
    };
    let (from, to) = (gates(old, old_pipeline), gates(new, new_pipeline));
    for gate in to.difference(&from) {
        why.push(format!("gate `{gate}` must pass too"));
    }
    for gate in from.difference(&to) {
        why.push(format!("gate `{gate}` is no longer asked"));
    }
    why
}

fn params(old: &Pipeline, new: &Pipeline, difference: &mut Difference) {
    for name in all_of(old.params.keys(), new.params.keys()) {
        let why = match (old.params.get(name), new.params.get(name)) {
            (None, Some(_)) => "it is new".to_owned(),
            (Some(_), None) => "it is gone: `--param` would be refused".to_owned(),
            (Some(a), Some(b)) if a.value != b.value => {
                format!("its value is {} instead of {}", short(&b.value.to_string()), short(&a.value.to_string()))
            }
            _ => continue,
        };
        difference.params.push(change(name, &why));
    }
}
