//! Encoded rows as tensors, in pieces of bounded size.

use arrow::array::RecordBatch;
use mlp_artifact::table::Reader;
use tch::kind::Element;
use tch::{Device, Kind, Tensor};

use crate::Report;
use crate::encoding::{Cell, Encoder};
use crate::fault::Fault;

/// At most so many numbers are encoded at once (128 MiB in double precision), though always whole rows.
const MAX_CELLS: usize = 16 << 20;

/// Reads a whole table as `[n_rows, width]`, or `[n_rows, width + 1]` with a last column of ones. `shown` names the table.
pub fn read_matrix(
    reader: &Reader,
    shown: &str,
    encoder: &mut Encoder,
    kind: Kind,
    ones: bool,
    report: &dyn Report,
) -> Result<Tensor, Fault> {
    let stride = encoder.width() + usize::from(ones);
    let matrix = Tensor::f_empty([reader.n_rows() as i64, stride as i64], (kind, Device::Cpu))?;
    let mut at = 0;
    for batch in reader.batches() {
        let batch = batch.map_err(|error| Fault::unreadable(shown, &error))?;
        for_each_piece(&batch, at as u64 + 1, encoder, kind, ones, &mut |piece| {
            if report.is_cancelled() {
                return Err(Fault::cancelled());
            }
            let (n_rows, _) = piece.size2()?;
            matrix.f_narrow(0, at, n_rows)?.f_copy_(&piece)?;
            at += n_rows;
            Ok(())
        })?;
    }
    Ok(matrix)
}

/// Encodes a batch, whose first row is row `first_row` of its table, piece by piece in order.
pub fn for_each_piece(
    batch: &RecordBatch,
    first_row: u64,
    encoder: &mut Encoder,
    kind: Kind,
    ones: bool,
    take: &mut dyn FnMut(Tensor) -> Result<(), Fault>,
) -> Result<(), Fault> {
    match kind {
        Kind::Double => pieces::<f64>(batch, first_row, encoder, ones, take),
        _ => pieces::<f32>(batch, first_row, encoder, ones, take),
    }
}

fn pieces<T: Cell + Element>(
    batch: &RecordBatch,
    first_row: u64,
    encoder: &mut Encoder,
    ones: bool,
    take: &mut dyn FnMut(Tensor) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let stride = encoder.width() + usize::from(ones);
    let piece_rows = (MAX_CELLS / stride.max(1)).max(1);
    for start in (0..batch.num_rows()).step_by(piece_rows) {
        let piece = batch.slice(start, piece_rows.min(batch.num_rows() - start));
        let mut cells = vec![<T as Cell>::ZERO; piece.num_rows() * stride];
        encoder.encode(&piece, first_row + start as u64, &mut cells, stride)?;
        if ones {
            cells.chunks_exact_mut(stride).for_each(|row| row[stride - 1] = T::from_f64(1.0));
        }
        take(Tensor::f_from_slice(&cells)?.f_reshape([piece.num_rows() as i64, stride as i64])?)?;
    }
    Ok(())
}
