//! `torch.predict`: applies a stored model to the raw rows of a table, batch by batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch};
use arrow::datatypes::{Field, Schema};
use mlp_artifact::model;
use mlp_artifact::table::{ColumnShape, Reader, Writer, arrow_type};
use mlp_model::{ArtifactKind, Facts, Outcome, Produced, Progress, Scalar, StartStep, Task, Type};
use tch::{Device, Kind, Tensor};

use crate::Report;
use crate::device;
use crate::encoding::{Encoder, find};
use crate::fault::Fault;
use crate::matrix::for_each_piece;
use crate::net::{Layers, Net};
use crate::params::{Params, input};
use crate::target::Target;
use crate::train::environment;

/// Writes for each row of `data`, in order: the columns of `keep`; `actual`, if the step declares it: whether the row is
/// positive, or the target's value; and `score`, the probability of the positive class or the predicted value.
///
/// Facts: `rows`; and `unseen.COLUMN`, how many rows had a value there that the training had not.
pub fn predict(step: &StartStep, report: &dyn Report) -> Result<Outcome, Fault> {
    let (data, file) = (input(step, "data")?, input(step, "model")?);
    let (output, declared) = match step.outputs.as_slice() {
        [(name, Type::Table(table))] => (name, table),
        _ => return Err(Fault::bug("`torch.predict` does not declare a table as its output")),
    };
    let (card, tensors) =
        model::read(&file.path, file.size_bytes).map_err(|error| Fault::unreadable_model(&file.shown, &error))?;
    let reader = Reader::open(&data.path, data.size_bytes).map_err(|error| Fault::unreadable(&data.shown, &error))?;
    let columns = reader.columns();

    let mut encoder = Encoder::new(&card.encoding, columns)?;
    let net = Net::parse(&card.net)?;
    let chosen = device::prepare(step)?;
    let layers = Layers::from_stored(&net, encoder.width(), tensors, chosen.device, &file.shown)?;
    // Declared exactly when the checker knows that the table has the target.
    let actual_scalar = declared.column("actual").map(|column| column.scalar);
    let target = actual_scalar.map(|_| Target::new(&card.target.name, card.task, card.positive.as_ref(), columns));
    let target = target.transpose()?;
    let mut kept = Vec::new();
    for name in Params(&step.params).strings("keep")? {
        kept.push(find(name, columns)?);
    }
    let actual_shape = target.as_ref().zip(actual_scalar).map(|(target, scalar)| ColumnShape {
        name: "actual".into(),
        scalar,
        optional: target.is_optional(),
    });
    let shapes = output_shapes(&kept, columns, actual_shape)?;

    let path = step.work_dir.join("predictions.arrow");
    let unwritable = |error| Fault::unwritable("the predictions", error);
    let mut writer = Writer::create(&path, &shapes).map_err(unwritable)?;
    let mut n_rows = 0;
    for batch in reader.batches() {
        let batch = batch.map_err(|error| Fault::unreadable(&data.shown, &error))?;
        let first_row = n_rows + 1;
        let mut scores = Vec::with_capacity(batch.num_rows());
        for_each_piece(&batch, first_row, &mut encoder, net.kind(), false, &mut |piece| {
            if report.is_cancelled() {
                return Err(Fault::cancelled());
            }
            scores.extend(score(&layers, &piece.f_to_device(chosen.device)?, card.task)?);
            Ok(())
        })?;
        let mut arrays: Vec<ArrayRef> = kept.iter().map(|place| batch.column(*place).clone()).collect();
        if let Some(target) = &target {
            arrays.push(actual(&target.read(&batch, first_row)?, actual_scalar == Some(Scalar::Bool)));
        }
        arrays.push(Arc::new(Float64Array::from(scores)));
        writer.write(&to_batch(&shapes, arrays)?).map_err(unwritable)?;
        n_rows += batch.num_rows() as u64;
        report.progress(Progress {
            unit: "rows".into(),
            done: n_rows,
            total: Some(reader.n_rows()),
            metrics: Facts::new(),
        });
    }
    writer.finish().map_err(unwritable)?;

    let mut facts = Facts::from([("rows".into(), n_rows as f64)]);
    facts.extend(encoder.unseen().map(|(column, n)| (format!("unseen.{column}"), n as f64)));
    Ok(Outcome {
        outputs: BTreeMap::from([(output.clone(), Produced { kind: ArtifactKind::Table, path })]),
        facts,
        environment: environment(step, &chosen)?,
        ..Outcome::default()
    })
}

fn score(layers: &Layers, x: &Tensor, task: Task) -> Result<Vec<f64>, Fault> {
    let output = tch::no_grad(|| layers.forward(x, 0.0))?;
    let output = output.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
    let output = if task == Task::Binary { output.f_sigmoid()? } else { output };
    Ok(Vec::try_from(&output)?)
}

fn output_shapes(
    kept: &[usize],
    columns: &[ColumnShape],
    actual: Option<ColumnShape>,
) -> Result<Vec<ColumnShape>, Fault> {
    let mut shapes: Vec<ColumnShape> = kept.iter().map(|place| columns[*place].clone()).collect();
    if let Some(name) = shapes.iter().map(|shape| &shape.name).find(|name| ["actual", "score"].contains(&name.as_str()))
    {
        let message = format!("kept column `{name}` has the name of a column that the prediction adds");
        return Err(Fault::user("T4112", message).with_argument("keep").with_column(name).into());
    }
    shapes.extend(actual);
    shapes.push(ColumnShape { name: "score".into(), scalar: Scalar::Float, optional: false });
    Ok(shapes)
}

fn actual(values: &[Option<f64>], is_bool: bool) -> ArrayRef {
    if is_bool {
        return Arc::new(values.iter().map(|value| value.map(|number| number == 1.0)).collect::<BooleanArray>());
    }
    Arc::new(values.iter().copied().collect::<Float64Array>())
}

fn to_batch(shapes: &[ColumnShape], arrays: Vec<ArrayRef>) -> Result<RecordBatch, Fault> {
    let fields: Vec<Field> =
        shapes.iter().map(|shape| Field::new(&shape.name, arrow_type(shape.scalar), shape.optional)).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays);
    batch.map_err(|error| Fault::bug(format!("the predictions do not make a table: {error}")))
}
