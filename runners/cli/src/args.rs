//! The command line, as clap sees it. Help texts are user documentation.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::quantities;

/// From data to a released model: declarative, repeatable, auditable.
#[derive(Debug, Parser)]
#[command(name = "mlp", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// Print JSON on standard output: lines of events for `run`, one document for every other command
    #[arg(long, global = true)]
    pub json: bool,

    /// Colours and progress bars: `auto` uses them on a terminal; NO_COLOR is obeyed
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub color: Colour,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Begin a pipeline from a template that runs as it is: churn, demand, fraud, image
    ///
    /// Makes a folder with the pipeline and invented data, and mlp.yaml where there is no workspace yet. Without a
    /// template it only makes mlp.yaml. Nothing that is there is overwritten.
    Init {
        template: Option<String>,
        /// The folder to make, instead of one called after the template
        #[arg(long, value_name = "DIR", requires = "template")]
        dir: Option<PathBuf>,
        /// Show the templates
        #[arg(long, conflicts_with = "template")]
        list: bool,
    },
    /// Check a pipeline and report every mistake; nothing runs
    Check {
        #[command(flatten)]
        pipeline: PipelineArgs,
        /// How to print what is found; `sarif` is what code hosts and editors read
        #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
        format: CheckFormat,
    },
    /// Look for what checks, but is hardly meant
    ///
    /// Unused declarations, gates that decide nothing, seeds and thresholds that are not written, personal data on its
    /// way to a program. `// lint: allow CODE REASON` behind a line or above it silences one. Exit code: 0 nothing found,
    /// 1 doubts, 2 a file does not check.
    Lint {
        /// Files, or folders with `.mlp` files below; all of the workspace if left out
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        values: ValueArgs,
        /// How to print what is found; `sarif` is what code hosts and editors read
        #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
        format: CheckFormat,
    },
    /// Explain a code such as E0407, with a wrong example and a right one; without a code, list all
    Explain { code: Option<String> },
    /// Tell what changed in meaning between two versions of a pipeline: nothing, decisions, reports, or what is retrained
    ///
    /// Compares what the files mean, never their text. Changes of data are not looked at: `mlp plan` does.
    Diff {
        /// The version before: a file, or REVISION:FILE of git
        #[arg(value_name = "FILE|REVISION:FILE")]
        before: String,
        /// The version after
        #[arg(value_name = "FILE|REVISION:FILE")]
        after: String,
        #[command(flatten)]
        values: ValueArgs,
    },
    /// Run the tests that pipeline files declare
    ///
    /// A test gives rows to sources, steps or defs and says what comes out. It runs in a store of its own, under
    /// `.mlp/tests`: runs, results and releases of the workspace are not touched. Exit code: 0 all passed, 1 one failed,
    /// 2 a file does not check or there are no tests.
    Test {
        /// Files, or folders with `.mlp` files below; all of the workspace that have tests if left out
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Only tests whose name contains this text
        #[arg(long, value_name = "TEXT")]
        filter: Option<String>,
        /// Write a report as JUnit XML, for build servers
        #[arg(long, value_name = "REPORT.xml")]
        junit: Option<PathBuf>,
    },
    /// Write the reference of a workspace as HTML: its pipelines and modules, and the standard library
    ///
    /// From doc comments, types, columns and the graph; nothing runs. Plain pages that load nothing from elsewhere.
    /// Exit code: 0 done, 2 a file does not check: its page then shows what is known.
    Doc {
        /// Files, or folders with `.mlp` files below; all of the workspace if left out
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Where the pages go: `mlp-doc` in the workspace if left out. A folder with other files is refused
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        #[command(flatten)]
        values: ValueArgs,
    },
    /// Write pipeline files in the one style
    ///
    /// Comments are kept, and nothing but blanks, line breaks and commas without a meaning changes. A file with a syntax
    /// error is left alone. Exit code: 0 done, 1 with --check when a file is not formatted, 2 when one cannot be read.
    Fmt {
        /// Files, or folders with `.mlp` files below; all of the workspace if left out; `-` for standard input
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Write nothing: show what would change
        #[arg(long)]
        check: bool,
    },
    /// Show what a run would do with each step, and why
    Plan {
        #[command(flatten)]
        pipeline: PipelineArgs,
        #[command(flatten)]
        work: WorkArgs,
        /// Show every parameter with its value and who gives it, instead of steps
        #[arg(long = "values", conflicts_with_all = ["targets", "until", "from", "force", "jobs", "budget"])]
        values: bool,
    },
    /// Bring a pipeline up to date
    ///
    /// Steps whose operation, parameters and inputs are as before are reused. Exit code: 0 done, 1 a step failed,
    /// 2 wrong usage or pipeline, 3 the machine lacks something, 10 a gate refused, 12 data breaks its schema,
    /// 130 interrupted, or steps were left out for `--budget`.
    Run(RunArgs),
    /// Run a pipeline for each of many days: `mlp backfill FILE 2026-09-01..2026-11-01 every 1w`
    ///
    /// For a pipeline that takes a day, `pipeline NAME(as_of: date)`: one run a day, the earliest first, then a table of all.
    /// All days are checked before the first one runs. What is up to date is reused, so that a backfill that was interrupted
    /// goes on where it was. Exit code: that of the first run that failed, else 10 if a gate refused, else 0.
    Backfill(BackfillArgs),
    /// Explain why a step ran or was reused, field by field, from stored keys
    Why {
        #[command(flatten)]
        pipeline: PipelineArgs,
        /// The step, as the pipeline names it
        step: String,
        /// Also list the fields that are the same
        #[arg(long)]
        all: bool,
    },
    /// List runs, newest first
    Runs {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
        limit: usize,
    },
    /// Show what a run told, or what one of its steps printed
    Log {
        /// The run: any unambiguous beginning of its id; the newest if left out
        run: Option<String>,
        /// Only what this step printed
        step: Option<String>,
        /// Keep printing until the run ends
        #[arg(short, long)]
        follow: bool,
        /// List what was done outside: each effect with its time, run and idempotency key, newest first
        #[arg(long, conflicts_with_all = ["run", "follow"])]
        effects: bool,
    },
    /// Trace an artifact or a released model back to its sources
    Lineage {
        /// A digest (any unambiguous beginning) or a released model: NAME or NAME@N; with --openlineage also a run
        #[arg(value_name = "ARTIFACT|MODEL")]
        what: String,
        /// What was made from it, instead of what it was made from
        #[arg(long)]
        down: bool,
        /// Print the run, or the run that released the model, as OpenLineage events, one JSON object a line
        #[arg(long, conflicts_with = "down")]
        openlineage: bool,
    },
    /// Show an artifact: the head of a table, the metrics of a report, the card of a model
    Show {
        /// A pipeline file followed by a step, a digest (any unambiguous beginning), or a released model: NAME or NAME@N
        #[arg(value_name = "FILE STEP|DIGEST|MODEL", required = true, num_args = 1..=2)]
        what: Vec<String>,
        /// Rows of a table
        #[arg(short = 'n', long, default_value_t = 10, value_name = "N")]
        rows: usize,
        #[command(flatten)]
        values: ValueArgs,
    },
    /// Draw a pipeline's graph: a picture, or text for Graphviz or Mermaid
    Graph {
        #[command(flatten)]
        pipeline: PipelineArgs,
        #[arg(long, value_enum, default_value_t = GraphFormat::Dot)]
        format: GraphFormat,
        /// A picture for browsers and documents, the same as `--format svg`
        #[arg(long, conflicts_with = "format")]
        svg: bool,
        /// Write it to this file
        #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
        output: Option<PathBuf>,
    },
    /// Execute cached steps again from their stored inputs and compare the results
    ///
    /// The cache is neither asked nor told. Names the first step, in the order of the graph, whose result differs, and where.
    /// Exit code: 0 everything is the same, 1 something differs or a step failed.
    Verify(VerifyArgs),
    /// Free the space of objects that no kept run or release needs
    ///
    /// Kept are the last 10 complete runs of each pipeline and all runs since, running runs, and every released version
    /// with the run that made it. Each option that keeps adds to the others. A result whose objects were collected is made
    /// again when it is needed; journal and lineage stay.
    Gc(GcArgs),
    /// Write a run or a released version to one file, which another workspace can take in
    ///
    /// The archive holds the run's results and the records that tell its lineage; it checks itself. Objects with personal
    /// values are left out.
    Export(ExportArgs),
    /// Make a pipeline of a DVC project's `dvc.yaml`
    ///
    /// Each stage becomes a `sh` step with the same command, inputs and outputs at the same paths; values of `params.yaml`
    /// become parameters. What is not as DVC did it is told, and stands in the file.
    Import(ImportPipelineArgs),
    /// Take in an archive that `mlp export` wrote
    ///
    /// Its results become cache hits here, and a released model's lineage can be told. Everything is checked before
    /// anything is kept. Whether results are true cannot be checked by reading: `mlp verify` executes them again.
    ImportBundle(ImportArgs),
    /// Destroy the key of a partition, so that all that is encrypted with it can be read no more
    ///
    /// Without `--yes` it only says what that would be, released models among it first. With it, the erasure is recorded,
    /// the key is destroyed where `encryption` in mlp.yaml says it is, and every object that was encrypted with it is tried:
    /// none may be readable any more. What runs printed goes with it. Journal, lineage and history stay, and tell what was
    /// erased; a step that needs it runs again, with a new key. Exit code: 0 erased, 1 something can still be read.
    Erase {
        /// The partition, as `encryption` in mlp.yaml or the option `partition` of a source or step names it
        partition: String,
        /// Destroy it; there is no way back
        #[arg(long)]
        yes: bool,
    },
    /// Check, repair or measure what the workspace keeps
    Store {
        #[command(subcommand)]
        action: StoreAction,
    },
    /// List released models, roll one back, lift a hold
    Models {
        #[command(subcommand)]
        action: Option<ModelsAction>,
    },
    /// Serve an editor: diagnostics, completion, hovers and more, over the Language Server Protocol
    ///
    /// Speaks on standard input and output until the editor leaves. Editors start it by themselves; `docs/editors.md`
    /// says how to set up VS Code, Neovim, Helix and Zed.
    Lsp {
        /// Accepted for editors that always pass it; standard input and output are used anyway
        #[arg(long, hide = true)]
        stdio: bool,
    },
    /// Tell what is found on this machine and what is missing
    Doctor,
    /// Print a shell's completions for `mlp`: `mlp completions bash > ~/.local/share/bash-completion/completions/mlp`
    Completions { shell: clap_complete::Shell },
    /// Print the manual page, or write those of all commands
    Man {
        /// Write a page for `mlp` and each command into this folder
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
    #[command(name = "__owner", hide = true)]
    Owner {
        workspace: PathBuf,
        #[arg(long, value_name = "SECONDS")]
        idle: u64,
    },
    #[command(name = crate::wiring::WASM_WORKER, hide = true)]
    WasmWorker,
}

#[derive(Debug, Args)]
pub struct PipelineArgs {
    /// The pipeline file
    pub file: PathBuf,
    #[command(flatten)]
    pub values: ValueArgs,
}

/// What a pipeline's parameters are.
#[derive(Debug, Clone, Default, Args)]
pub struct ValueArgs {
    /// Set a parameter of the pipeline
    ///
    /// Before it come none; after it the environment (`MLP_PARAM_NAME`), the profile, and the file's own default.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Take the values of this profile of mlp.yaml (the default comes from MLP_PROFILE, else from `profile` in mlp.yaml)
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// The day that the run is for, of a pipeline that takes one: `pipeline NAME(as_of: date)`
    #[arg(long, value_name = "DATE")]
    pub as_of: Option<String>,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    #[command(flatten)]
    pub work: WorkArgs,
    /// Only show what would be done, as `mlp plan` does
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// After a failure, go on with the steps that do not depend on it
    #[arg(short, long)]
    pub keep_going: bool,
}

#[derive(Debug, Args)]
pub struct BackfillArgs {
    /// The pipeline file
    pub file: PathBuf,
    /// The days: FROM..TO leaves out TO, FROM..=TO takes it
    #[arg(value_name = "FROM..TO")]
    pub days: String,
    /// From one day to the next: `every 1w` [default: every 1d]
    #[arg(value_names = ["every", "STEP"], num_args = 0..=2)]
    pub every: Vec<String>,
    #[command(flatten)]
    pub values: ValueArgs,
    /// Cores to use in each run
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// After a day that fails, go on with the next; in a run, with the steps that do not depend on what failed
    #[arg(short, long)]
    pub keep_going: bool,
    /// Only show what would be done for each day
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Only these steps
    #[arg(value_name = "STEP")]
    pub steps: Vec<String>,
    /// Only a part of the steps, drawn at random: 20%
    #[arg(long, value_name = "N%", value_parser = quantities::percent)]
    pub sample: Option<f64>,
    /// Draw the same sample again
    #[arg(long, value_name = "SEED", requires = "sample")]
    pub seed: Option<u64>,
}

#[derive(Debug, Args)]
pub struct GcArgs {
    /// Keep the last N complete runs of each pipeline, and all runs since [default: 10; 1 with --max-size alone]
    #[arg(long, value_name = "N")]
    pub keep_runs: Option<usize>,
    /// Remove only what no younger run used: 12h, 30d, 8w
    #[arg(long, value_name = "AGE", value_parser = quantities::duration)]
    pub older_than: Option<std::time::Duration>,
    /// Remove only until what is left fits, oldest first: 500MiB, 10GiB
    #[arg(long, value_name = "SIZE", value_parser = quantities::size)]
    pub max_size: Option<u64>,
    /// Keep only the last N versions of each release, beside the live one and those on hold [default: all]
    #[arg(long, value_name = "N")]
    pub versions: Option<usize>,
    /// Say what would be freed; nothing is removed
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A run (any unambiguous beginning of its id) or a released model: NAME or NAME@N
    #[arg(value_name = "RUN|MODEL")]
    pub what: String,
    /// The archive to write
    #[arg(short, long, value_name = "FILE.mlpx")]
    pub output: PathBuf,
    /// Take objects with personal values along
    #[arg(long)]
    pub with_personal: bool,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The archive
    pub file: PathBuf,
    /// Take the released version over under this name
    #[arg(long = "as", value_name = "NAME")]
    pub rename: Option<String>,
}

#[derive(Debug, Args)]
pub struct ImportPipelineArgs {
    /// The `dvc.yaml`, or the folder that it is in
    #[arg(value_name = "DVC.YAML")]
    pub file: PathBuf,
    /// The pipeline to write; beside `dvc.yaml`, with the name of its folder, if left out
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace a pipeline that is there already
    #[arg(long)]
    pub force: bool,
    /// Give each step all values of its parameter files, not only those that its stage declares
    ///
    /// For programs that read values that `dvc.yaml` does not tell of. Each step then runs again when any value changes.
    #[arg(long)]
    pub whole_params: bool,
}

#[derive(Debug, Subcommand)]
pub enum StoreAction {
    /// Check every object against its digest, the journal's chain, and the index against the journal
    ///
    /// Changes nothing, and works beside running runs. Exit code: 0 sound, 1 damaged.
    Verify,
    /// Move damaged objects aside, cut off an incomplete write, make the index anew
    ///
    /// Nobody may be using the store. Says what is lost and which steps will run again.
    Repair {
        /// Give up acknowledged records that can no longer be read; all others, and the original files, are kept
        #[arg(long)]
        cut_journal: bool,
    },
    /// Show objects and bytes by kind, journal, runs and growth
    Stats,
    /// Bring everything that another workspace keeps into this one: objects, results, runs, lineage, releases
    ///
    /// The other workspace is only read, also while somebody works in it. Merging again brings what is new there, and
    /// nothing else. Results of this workspace are preferred to others under the same key; of a release, the latest event of
    /// both decides what is live. Exit code: 0 everything is here, 1 something was damaged there and left out.
    Merge {
        /// The other workspace, or its `.mlp` folder
        path: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    Text,
    /// As with `--json`
    Json,
    /// SARIF 2.1.0
    Sarif,
}

/// Which part of a pipeline, and with how much of the machine.
#[derive(Debug, Default, Args)]
pub struct WorkArgs {
    /// Only these steps and what they need
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Stop after this step: leave out what it does not need
    #[arg(long, value_name = "STEP")]
    pub until: Vec<String>,
    /// Begin with this step: leave out what does not need it, except what the rest needs
    #[arg(long, value_name = "STEP")]
    pub from: Vec<String>,
    /// Run this step even if a stored result fits
    #[arg(long, value_name = "STEP")]
    pub force: Vec<String>,
    /// Cores to use, one step each unless it says `cpu` (the default comes from mlp.yaml, else all cores)
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Start no step that would, going by its past, end later than this: 2h, 1h30m, 90s
    #[arg(long, value_name = "DURATION", value_parser = quantities::duration)]
    pub budget: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    Dot,
    Mermaid,
    /// A picture that needs no other program. A loop of many rounds is drawn as one of them
    Svg,
}

#[derive(Debug, Subcommand)]
pub enum ModelsAction {
    /// Make the version before the live one live again, and hold what was live
    ///
    /// The whole decision moves: model, encoding, transform, schema and threshold. `mlp run` does not release the held
    /// version again until `mlp models unhold`.
    Rollback {
        name: String,
        /// The version to go back to
        #[arg(long, value_name = "N")]
        to: Option<mlp_engine::VersionName>,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Allow a version that was rolled back from to be released again
    Unhold {
        /// NAME@N
        version: String,
    },
}
