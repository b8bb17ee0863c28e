//! `torch.train`: fits an encoding and a net on a table and writes both as one model.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use mlp_artifact::model::{self, CARD_VERSION, Encoded, ModelCard};
use mlp_artifact::table::Reader;
use mlp_model::{ArtifactKind, ErrorClass, Facts, Outcome, Produced, Progress, StartStep, StepError, Task, Type};
use tch::{Kind, Tensor};

use crate::Report;
use crate::convex;
use crate::device::{self, Chosen};
use crate::encoding::{Encoder, Fitter};
use crate::fault::Fault;
use crate::matrix::read_matrix;
use crate::mlp::{Loss, Settings, Training, initial_weights};
use crate::net::{Layers, Net};
use crate::params::{Params, input};
use crate::target::Target;

/// Trains a model as the step says.
///
/// The model holds its weights by PyTorch's names (`layers.0.weight`), single precision, and gives a logit (binary) or
/// the value in the target's own unit (regression).
///
/// Facts: `rows`; `features`, the width of the encoded row; `epochs` (for a convex net, the iterations it took); `loss`,
/// the mean over the rows: of an MLP in its last epoch, for a regression of the standardised target, so that 1 is what
/// the mean alone reaches in squared error; of a convex net at its solution, for a regression in the target's unit squared.
pub fn train(step: &StartStep, report: &dyn Report) -> Result<Outcome, Fault> {
    let params = Params(&step.params);
    let net = Net::parse(params.get("net")?)?;
    let (output, model_type) = match step.outputs.as_slice() {
        [(name, Type::Model(model_type))] => (name, model_type),
        _ => return Err(Fault::bug("`torch.train` does not declare a model as its output")),
    };
    let task = model_type.task;
    let loss = choose_loss(params.str("loss")?, &net, task)?;
    let data = input(step, "data")?;
    let reader = Reader::open(&data.path, data.size_bytes).map_err(|error| Fault::unreadable(&data.shown, &error))?;
    let target = Target::new(params.str("target")?, task, params.optional("positive"), reader.columns())?;

    let (encoding, goals) = fit(&reader, &data.shown, &params, &target, report)?;
    if task == Task::Binary {
        expect_two_classes(&goals, &target, params.str("target")?)?;
    }
    let chosen = device::prepare(step)?;
    let mut encoder = Encoder::new(&encoding, reader.columns())?;
    let is_convex = net.kind() == Kind::Double;
    let x =
        read_matrix(&reader, &data.shown, &mut encoder, net.kind(), is_convex, report)?.f_to_device(chosen.device)?;
    let learned = match &net {
        Net::Mlp { dropout, .. } => {
            let settings = Settings {
                epochs: params.count("epochs")?,
                lr: params.float("lr")?,
                batch: params.count("batch")?,
                weight_decay: params.float("weight_decay")?,
                dropout: *dropout,
                loss,
                seed: params.int("seed")?,
            };
            learn_mlp(&net.layers(encoder.width()), &x, &goals, task, &settings, report)?
        }
        Net::Logistic { .. } | Net::Linear { .. } => learn_convex(&net, &x, &goals, params.count("epochs")?, report)?,
    };

    let path = step.work_dir.join("model.safetensors");
    let card = ModelCard {
        version: CARD_VERSION,
        flavour: "torch".into(),
        task,
        target: model_type.target.clone(),
        positive: target.positive().cloned(),
        net: params.get("net")?.clone(),
        encoding,
    };
    model::write(&path, &card, &learned.layers.to_stored()?).map_err(|error| Fault::unwritable("the model", error))?;
    Ok(Outcome {
        outputs: BTreeMap::from([(output.clone(), Produced { kind: ArtifactKind::Model, path })]),
        facts: Facts::from([
            ("rows".into(), goals.len() as f64),
            ("features".into(), encoder.width() as f64),
            ("epochs".into(), learned.n_epochs as f64),
            ("loss".into(), learned.loss),
        ]),
        environment: environment(step, &chosen)?,
        ..Outcome::default()
    })
}

/// Returns what a step's result was made with.
pub fn environment(step: &StartStep, chosen: &Chosen) -> Result<BTreeMap<String, String>, Fault> {
    Ok(BTreeMap::from([
        ("libtorch".into(), device::libtorch_version()),
        ("device".into(), chosen.name.clone()),
        ("threads".into(), device::threads(step)?.to_string()),
    ]))
}

fn choose_loss(word: &str, net: &Net, task: Task) -> Result<Loss, Fault> {
    if let Some(needed) = net.task()
        && needed != task
    {
        return Err(Fault::user("T4201", format!("this net is for a {needed} task, but the target makes it {task}"))
            .with_argument("net")
            .into());
    }
    let loss = match (word, task) {
        ("auto", Task::Binary) | ("log", _) => Loss::Log,
        ("auto", Task::Regression) | ("mse", _) => Loss::Mse,
        ("mae", _) => Loss::Mae,
        ("huber", _) => Loss::Huber,
        _ => return Err(Fault::bug(format!("the torch worker knows no loss `{word}`"))),
    };
    let fits_task = (loss == Loss::Log) == (task == Task::Binary);
    let fits_net = matches!(net, Net::Mlp { .. }) || matches!(loss, Loss::Log | Loss::Mse);
    if fits_task && fits_net {
        return Ok(loss);
    }
    let (what, fitting) = match (net, task) {
        (_, Task::Binary) => ("a binary target", "`loss: log`"),
        (Net::Mlp { .. }, Task::Regression) => ("a regression", "`mse`, `mae` or `huber`"),
        (_, Task::Regression) => ("`torch.linear`", "`loss: mse`"),
    };
    let error = Fault::user("T4201", format!("loss `{loss}` does not fit {what}")).with_argument("loss");
    Err(error.with_help(format!("use {fitting}, or leave `loss` out")).into())
}

/// Reads the table once: fits the encoding, and takes the target of each row.
fn fit(
    reader: &Reader,
    shown: &str,
    params: &Params<'_>,
    target: &Target,
    report: &dyn Report,
) -> Result<(Vec<Encoded>, Vec<f64>), Fault> {
    let name = params.str("target")?;
    let features = params.strings("features")?;
    if features.is_empty() {
        let error = Fault::user("T4104", format!("no column is left to learn `{name}` from")).with_argument("features");
        return Err(error.with_help("name columns in `features`, or mark fewer of them").into());
    }
    if features.contains(&name) {
        let error = Fault::user("T4104", format!("`{name}` is both the target and a feature"));
        return Err(error.with_argument("features").with_column(name).into());
    }
    if reader.n_rows() == 0 {
        let error = Fault::user("T4101", format!("there is nothing to learn from: `{shown}` has no rows"));
        return Err(error.with_argument("data").with_help("look at the steps before it with `mlp show`").into());
    }
    let mut fitter = Fitter::new(&features, &params.strings("one_hot")?, reader.columns())?;
    let mut goals = Vec::with_capacity(reader.n_rows() as usize);
    for batch in reader.batches() {
        if report.is_cancelled() {
            return Err(Fault::cancelled());
        }
        let batch: RecordBatch = batch.map_err(|error| Fault::unreadable(shown, &error))?;
        let first_row = goals.len() as u64 + 1;
        fitter.add(&batch, first_row)?;
        for (i, goal) in target.read(&batch, first_row)?.into_iter().enumerate() {
            let Some(goal) = goal else {
                let row = first_row + i as u64;
                let error = Fault::user("T4103", format!("target `{name}` is blank in row {row}"));
                let error = error.with_argument("target").with_row(row).with_column(name);
                return Err(error.with_help("drop rows without a target before this step").into());
            };
            goals.push(goal);
        }
    }
    Ok((fitter.finish(goals.len() as u64)?, goals))
}

fn expect_two_classes(goals: &[f64], target: &Target, name: &str) -> Result<(), Fault> {
    let n_positives = goals.iter().filter(|goal| **goal == 1.0).count();
    let what = match (n_positives, goals.len()) {
        (0, _) => "none",
        (n_positives, n_rows) if n_positives == n_rows => "all",
        _ => return Ok(()),
    };
    let positive = target.positive().map(ToString::to_string).unwrap_or_default();
    let message =
        format!("{what} of the {} rows have target `{name}` = {positive}: there is nothing to tell apart", goals.len());
    let error = Fault::user("T4102", message).with_argument("target").with_column(name);
    Err(error.with_help("check `positive`, and that the split keeps rows of both classes").into())
}

/// A trained net.
struct Learned {
    layers: Layers,
    n_epochs: usize,
    loss: f64,
}

fn learn_mlp(
    shapes: &[(usize, usize)],
    x: &Tensor,
    goals: &[f64],
    task: Task,
    settings: &Settings,
    report: &dyn Report,
) -> Result<Learned, Fault> {
    // A net learns best when what it gives is about as large as what it gets.
    let (mean, std) = match task {
        Task::Binary => (0.0, 1.0),
        Task::Regression => mean_and_std(goals),
    };
    let scaled: Vec<f32> = goals.iter().map(|goal| ((goal - mean) / std) as f32).collect();
    let y = Tensor::f_from_slice(&scaled)?.f_to_device(x.device())?;
    let initial = initial_weights(shapes, settings.seed)?;
    let mut training = Training::new(shapes, &initial, x, &y, settings)?;
    let mut loss = f64::NAN;
    for epoch in 1..=settings.epochs {
        loss = training.epoch(&mut || if report.is_cancelled() { Err(Fault::cancelled()) } else { Ok(()) })?;
        if !loss.is_finite() {
            let message = format!("the training diverged: the loss is {loss} in epoch {epoch} of {}", settings.epochs);
            let error = StepError::new(ErrorClass::Step, "T4202", message).with_argument("lr");
            return Err(error.with_help(format!("use a smaller `lr` (it is {})", settings.lr)).into());
        }
        report.progress(Progress {
            unit: "epochs".into(),
            done: epoch as u64,
            total: Some(settings.epochs as u64),
            metrics: Facts::from([("loss".into(), loss)]),
        });
    }
    let layers = training.into_layers();
    tch::no_grad(|| rescale(&layers, mean, std))?;
    Ok(Learned { layers, n_epochs: settings.epochs, loss })
}

/// Makes the last layer give the target's own unit.
fn rescale(layers: &Layers, mean: f64, std: f64) -> Result<(), Fault> {
    if let Some((weight, bias)) = layers.0.last() {
        let (mut weight, mut bias) = (weight.f_detach()?, bias.f_detach()?);
        let _ = weight.f_mul_scalar_(std)?;
        let _ = bias.f_mul_scalar_(std)?.f_add_scalar_(mean)?;
    }
    Ok(())
}

fn mean_and_std(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / n;
    (mean, if variance > 0.0 { variance.sqrt() } else { 1.0 })
}

fn learn_convex(
    net: &Net,
    x: &Tensor,
    goals: &[f64],
    max_iterations: usize,
    report: &dyn Report,
) -> Result<Learned, Fault> {
    let y = Tensor::f_from_slice(goals)?.f_to_device(x.device())?;
    let solution = match net {
        Net::Linear { l2 } => convex::linear(x, &y, *l2)?,
        Net::Logistic { c } => convex::logistic(x, &y, *c, max_iterations, &mut |done, loss| {
            report.progress(Progress {
                unit: "iterations".into(),
                done: done as u64,
                total: None,
                metrics: Facts::from([("loss".into(), loss)]),
            });
            if report.is_cancelled() { Err(Fault::cancelled()) } else { Ok(()) }
        })?,
        Net::Mlp { .. } => return Err(Fault::bug("an MLP has no closed solution")),
    };
    if !solution.is_converged {
        report.print(&format!("not at the optimum after {} iterations: raise `epochs`", solution.n_iterations));
    }
    let n_weights = solution.weights.size1()? - 1;
    let weight = solution.weights.f_narrow(0, 0, n_weights)?.f_unsqueeze(0)?;
    let bias = solution.weights.f_narrow(0, n_weights, 1)?;
    if !solution.loss.is_finite() {
        let error = StepError::new(ErrorClass::Step, "T4202", "the solution is not finite: the features are too large");
        return Err(error.with_argument("features").into());
    }
    Ok(Learned { layers: Layers(vec![(weight, bias)]), n_epochs: solution.n_iterations, loss: solution.loss })
}
