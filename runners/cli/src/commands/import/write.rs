//! Writes the pipeline: its parameters, then a `sh` step for each stage. Looks at no file.

use super::command::{self, DONE};
use super::files::{self, From, Step, stem};
use super::notes::Notes;
use super::params::{Files, Names, Parameters, quoted};
use super::paths;
use super::texts;

/// Where the pipeline and the project are.
pub struct Place {
    /// The project's folder, absolute, without the `/` in front.
    pub project: String,
    /// The folder that the pipeline will stand in, likewise.
    pub pipeline: String,
}

/// Returns the declarations of the pipeline, not in the one style yet.
pub fn pipeline(
    steps: &[Step],
    place: &Place,
    files: &mut Files,
    parameters: &mut Parameters,
    notes: &mut Notes,
) -> String {
    let mut text = String::new();
    for step in steps {
        text.push('\n');
        text.push_str(&Writer { step, steps, place, files, parameters, notes }.step());
    }
    format!("{}{text}", parameters.declarations())
}

struct Writer<'a> {
    step: &'a Step,
    steps: &'a [Step],
    place: &'a Place,
    files: &'a mut Files,
    parameters: &'a mut Parameters,
    notes: &'a mut Notes,
}

impl Writer<'_> {
    fn step(&mut self) -> String {
        let (step, stage) = (self.step, &self.step.stage);
        let mut own = Names::default();
        let mut at: Vec<(String, String)> = Vec::new();
        let mut outputs: Vec<(String, String)> = Vec::new();
        for output in &step.outputs {
            own.take(&output.name);
            outputs.push((output.name.clone(), if output.is_folder { "folder" } else { "file" }.to_owned()));
            at.push((output.name.clone(), quoted(&self.layout(&output.path))));
        }
        if outputs.is_empty() {
            let why = format!(
                "it has no outputs; as a step it leaves a file `{DONE}`, and is done again when its inputs change"
            );
            self.notes.tell(stage.line, &stage.name, why);
            own.take("done");
            outputs.push(("done".to_owned(), "file".to_owned()));
            at.push(("done".to_owned(), quoted(DONE)));
        }
        let mut inputs: Vec<(String, String)> = Vec::new();
        for input in &step.inputs {
            let name = own.take(stem(&input.path));
            let from = match &input.from {
                From::File => format!("file({})", quoted(&self.beside(&input.path))),
                From::Folder => format!("folder({})", quoted(&self.beside(&input.path))),
                From::Step { step, output } => match &self.steps[*step] {
                    step if step.outputs.len() == 1 => step.name.clone(),
                    step => format!("{}.{}", step.name, step.outputs[*output].name),
                },
            };
            at.push((name.clone(), quoted(&self.layout(&input.path))));
            inputs.push((name, from));
        }
        let mut texts: Vec<(String, String)> = Vec::new();
        for params in &step.texts {
            let Some(values) = files::values(params, &stage.name, self.files, self.notes) else { continue };
            let text = texts::expression(&params.file, &values, self.parameters, self.notes);
            texts.push((quoted(&self.layout(&params.file)), text));
        }
        if step.wants_dvc {
            let why = "it uses DVC from Python, which looks for its project: an empty one is written for it";
            self.notes.tell(stage.line, &stage.name, why);
            texts.push((
                quoted(".dvc/config"),
                quoted("[core]\n    no_scm = true\n    analytics = false\n    site_cache_dir = tmp/dvc\n"),
            ));
        }
        let wdir = self.layout(&stage.wdir);
        let is_made = at
            .iter()
            .map(|(_, path)| path)
            .chain(texts.iter().map(|(path, _)| path))
            .any(|path| path.strip_prefix('"').is_some_and(|path| path.starts_with(&format!("{wdir}/"))));
        let command = command::expression(step, &wdir, is_made, self.parameters, self.notes);
        self.tell_of_command();

        let mut arguments = vec![command];
        for (name, record) in [("inputs", inputs), ("outputs", outputs), ("at", at), ("texts", texts)] {
            if !record.is_empty() {
                arguments.push(format!("{name}: {}", written(&record)));
            }
        }
        if command::wants_network(step) {
            arguments.push("network: true".to_owned());
        }
        format!("{}step {} = sh(\n{},\n)\n", self.doc(), step.name, arguments.join(",\n"))
    }

    fn doc(&self) -> String {
        let stage = &self.step.stage;
        let mut lines: Vec<String> =
            stage.desc.iter().flat_map(|desc| desc.lines()).map(|line| line.trim().to_owned()).collect();
        if stage.name != self.step.name {
            lines.insert(0, format!("Stage `{}`.", stage.name));
        }
        lines.iter().map(|line| format!("/// {line}\n")).collect()
    }

    fn tell_of_command(&mut self) {
        let stage = &self.step.stage;
        if command::wants_network(self.step) {
            let why = "it is given the network, whose answers are no inputs: it is not done again when they change";
            self.notes.tell(stage.line, &stage.name, why);
        }
        for name in command::variables(self.step) {
            let why = format!(
                "its command reads the variable `{name}`, which steps do not see: add `pass_env: [\"{name}\"]`"
            );
            self.notes.tell(stage.line, &stage.name, why);
        }
    }

    /// Returns the path of a file from the folder of the pipeline.
    fn beside(&self, path: &str) -> String {
        let whole = paths::join(&self.place.project, path).unwrap_or_default();
        paths::relative(&self.place.pipeline, &whole).unwrap_or(whole)
    }

    /// Returns where something stands in the folder of the step: as in the project, or, where the stage reaches above the
    /// project's folder, as in the folder above.
    fn layout(&self, path: &str) -> String {
        let step = self.step;
        let all = step.inputs.iter().map(|input| &input.path).chain(step.outputs.iter().map(|output| &output.path));
        let all = all.chain(step.texts.iter().map(|params| &params.file)).chain([&step.stage.wdir]);
        let n_up = all.map(|path| paths::n_up(path)).max().unwrap_or(0);
        let parts: Vec<&str> = self.place.project.split('/').collect();
        let above = parts[parts.len().saturating_sub(n_up)..].join("/");
        paths::join(&above, path).unwrap_or_default()
    }
}

/// Writes a record, on one line if it is short.
fn written(fields: &[(String, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let line = format!("{{ {} }}", fields.join(", "));
    if line.len() <= 100 && !line.contains('\n') { line } else { format!("{{\n{},\n}}", fields.join(",\n")) }
}
