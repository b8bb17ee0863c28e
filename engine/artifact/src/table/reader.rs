//! Reads a table from a memory-mapped file without copying its values; a small file is read instead.
//!
//! The file may be damaged or hostile. [`Reader::open`] checks its structure: every message, length and offset lies where
//! the canonical form puts it. [`Reader::batch`] checks the values: text is UTF-8, offsets rise, blank counts are true.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, make_array};
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::{Decimal128Type, SchemaRef};
use arrow::ipc;
use arrow::record_batch::RecordBatch;
use memmap2::{Mmap, MmapOptions};
use mlp_model::Scalar;

use super::{BATCH_ROWS, ColumnShape, TableError, arrow_type, check_columns, damaged, schema_of};

const MAGIC: &[u8] = b"ARROW1";
/// To map so few bytes, and to let go of them, costs more than to read them.
const MAX_READ_BYTES: usize = 1 << 16;

/// A table, mapped or read. Cheap to open; batches are checked when they are read.
pub struct Reader {
    path: PathBuf,
    bytes: Buffer,
    columns: Vec<ColumnShape>,
    schema: SchemaRef,
    batches: Vec<Layout>,
    n_rows: u64,
}

/// Where the columns of one batch lie in the file.
struct Layout {
    n_rows: usize,
    columns: Vec<ColumnLayout>,
}

struct ColumnLayout {
    n_blank: usize,
    validity: Option<Range<usize>>,
    /// The values; for text the offsets and the bytes.
    buffers: Vec<Range<usize>>,
}

impl Reader {
    /// Maps the table that the first `size_bytes` bytes of the file hold. The file must not change while it is mapped.
    pub fn open(path: &Path, size_bytes: u64) -> Result<Self, TableError> {
        Self::over(path, map(path, size_bytes)?)
    }

    /// Reads the table that these bytes hold; errors call it `path`.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, TableError> {
        Self::over(path, Buffer::from_slice_ref(bytes))
    }

    fn over(path: &Path, bytes: Buffer) -> Result<Self, TableError> {
        let (columns, batches) = parse(&bytes).map_err(|reason| damaged(path, reason))?;
        let n_rows = batches.iter().map(|batch| batch.n_rows as u64).sum();
        let schema = schema_of(&columns);
        Ok(Self { path: path.to_owned(), bytes, columns, schema, batches, n_rows })
    }

    pub fn columns(&self) -> &[ColumnShape] {
        &self.columns
    }

    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    pub fn n_batches(&self) -> usize {
        self.batches.len()
    }

    /// Returns all batches in order; see [`Reader::batch`].
    pub fn batches(&self) -> impl Iterator<Item = Result<RecordBatch, TableError>> {
        (0..self.batches.len()).filter_map(|i| self.batch(i))
    }

    /// Returns batch `index`, or `None` past the last. Its arrays point into the file's bytes and keep them.
    pub fn batch(&self, index: usize) -> Option<Result<RecordBatch, TableError>> {
        let layout = self.batches.get(index)?;
        let arrays = self.columns.iter().zip(&layout.columns).map(|(column, place)| {
            self.array(column, place, layout.n_rows).map_err(|reason| {
                damaged(&self.path, format!("column `{}` of batch {}: {reason}", column.name, index + 1))
            })
        });
        Some(arrays.collect::<Result<Vec<_>, _>>().and_then(|arrays| {
            RecordBatch::try_new(self.schema(), arrays).map_err(|error| damaged(&self.path, error.to_string()))
        }))
    }

    fn array(&self, column: &ColumnShape, place: &ColumnLayout, n_rows: usize) -> Result<ArrayRef, String> {
        let slice = |range: &Range<usize>| self.bytes.slice_with_length(range.start, range.len());
        let mut data = ArrayData::builder(arrow_type(column.scalar))
            .len(n_rows)
            .null_bit_buffer(place.validity.as_ref().map(slice));
        for range in &place.buffers {
            data = data.add_buffer(slice(range));
        }
        // Validates offsets and UTF-8.
        let array = make_array(data.build().map_err(|error| error.to_string())?);
        if array.null_count() != place.n_blank {
            return Err(format!("{} blank values, but {} are announced", array.null_count(), place.n_blank));
        }
        if let Scalar::Decimal { precision, .. } = column.scalar {
            let decimals = array.as_primitive::<Decimal128Type>();
            decimals.validate_decimal_precision(precision).map_err(|_| "a number has too many digits")?;
        }
        Ok(array)
    }
}

/// Maps the file, or reads it if that costs less.
fn map(path: &Path, size_bytes: u64) -> Result<Buffer, TableError> {
    let fail = |source| TableError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(fail)?;
    let found = file.metadata().map_err(fail)?.len();
    if found < size_bytes {
        return Err(damaged(path, format!("it should have {size_bytes} bytes and has {found}")));
    }
    let len = usize::try_from(size_bytes).map_err(|_| damaged(path, "it is too large for this machine"))?;
    if len < 2 * MAGIC.len() {
        return Err(damaged(path, "it is too short"));
    }
    if len <= MAX_READ_BYTES {
        let mut bytes = MutableBuffer::from_len_zeroed(len);
        file.read_exact(bytes.as_slice_mut()).map_err(fail)?;
        return Ok(bytes.into());
    }
    // SAFETY: artifacts are never changed once they are written; that is the store's promise and this function's demand.
    let mapped = Arc::new(unsafe { MmapOptions::new().len(len).map(&file) }.map_err(fail)?);
    Ok(buffer_of(mapped))
}

fn buffer_of(mapped: Arc<Mmap>) -> Buffer {
    let start = NonNull::new(mapped.as_ptr().cast_mut()).expect("a mapping does not lie at address zero");
    // SAFETY: the buffer owns the mapping, whose bytes it describes.
    unsafe { Buffer::from_custom_allocation(start, mapped.len(), mapped) }
}

/// Finds the columns and the place of every batch. An error says what is wrong, as the end of a sentence.
fn parse(bytes: &[u8]) -> Result<(Vec<ColumnShape>, Vec<Layout>), String> {
    let body =
        bytes.strip_suffix(MAGIC).filter(|_| bytes.starts_with(MAGIC)).ok_or("it does not begin and end as one")?;
    let (rest, footer_len) = body.split_last_chunk::<4>().ok_or("it is too short")?;
    let footer_len = usize::try_from(i32::from_le_bytes(*footer_len)).map_err(|_| "its footer has no length")?;
    let start = rest.len().checked_sub(footer_len).ok_or("its footer is longer than the file")?;
    let footer = ipc::root_as_footer(&rest[start..]).map_err(|_| "its footer cannot be read")?;
    if footer.version() != ipc::MetadataVersion::V5 || footer.custom_metadata().is_some() {
        return Err("its footer is not canonical".into());
    }
    if footer.dictionaries().is_some_and(|dictionaries| !dictionaries.is_empty()) {
        return Err("it has dictionaries".into());
    }
    let columns = parse_schema(footer.schema().ok_or("it has no schema")?)?;
    check_columns(&columns).map_err(|error| error.to_string())?;

    let blocks = footer.recordBatches().ok_or("it has no list of batches")?;
    let mut batches: Vec<Layout> = Vec::new();
    for i in 0..blocks.len() {
        let layout = parse_batch(&bytes[..start], blocks.get(i), &columns)
            .map_err(|reason| format!("batch {}: {reason}", i + 1))?;
        let is_last = i + 1 == blocks.len();
        if layout.n_rows == 0 || layout.n_rows > BATCH_ROWS || (!is_last && layout.n_rows < BATCH_ROWS) {
            return Err(format!("batch {} of {} has {} rows", i + 1, blocks.len(), layout.n_rows));
        }
        batches.push(layout);
    }
    Ok((columns, batches))
}

fn parse_schema(schema: ipc::Schema<'_>) -> Result<Vec<ColumnShape>, String> {
    if schema.endianness() != ipc::Endianness::Little
        || schema.custom_metadata().is_some_and(|entries| !entries.is_empty())
    {
        return Err("its schema is not canonical".into());
    }
    let fields = schema.fields().ok_or("its schema has no columns")?;
    let column = |field: ipc::Field<'_>| {
        let name = field.name().unwrap_or_default().to_owned();
        let is_plain = field.dictionary().is_none()
            && field.children().is_none_or(|children| children.is_empty())
            && field.custom_metadata().is_none_or(|entries| entries.is_empty());
        match parse_type(&field).filter(|_| is_plain) {
            Some(scalar) => Ok(ColumnShape { name, scalar, optional: field.nullable() }),
            None => Err(format!("column `{name}` has a type that no table of ours has")),
        }
    };
    fields.iter().map(column).collect()
}

fn parse_type(field: &ipc::Field<'_>) -> Option<Scalar> {
    Some(match field.type_type() {
        ipc::Type::Int => {
            field.type_as_int().filter(|int| int.bitWidth() == 64 && int.is_signed()).map(|_| Scalar::Int)?
        }
        ipc::Type::FloatingPoint => {
            let float = field.type_as_floating_point()?;
            (float.precision() == ipc::Precision::DOUBLE).then_some(Scalar::Float)?
        }
        ipc::Type::Bool => Scalar::Bool,
        ipc::Type::Utf8 => Scalar::Str,
        ipc::Type::Date => (field.type_as_date()?.unit() == ipc::DateUnit::DAY).then_some(Scalar::Date)?,
        ipc::Type::Timestamp => {
            let instant = field.type_as_timestamp()?;
            let is_ours = instant.unit() == ipc::TimeUnit::MICROSECOND && instant.timezone() == Some("UTC");
            is_ours.then_some(Scalar::Timestamp)?
        }
        ipc::Type::Decimal => {
            let decimal = field.type_as_decimal().filter(|decimal| decimal.bitWidth() == 128)?;
            let (precision, scale) = (decimal.precision().try_into().ok()?, decimal.scale().try_into().ok()?);
            Scalar::Decimal { precision, scale }
        }
        ipc::Type::Duration => {
            (field.type_as_duration()?.unit() == ipc::TimeUnit::MILLISECOND).then_some(Scalar::Duration)?
        }
        _ => return None,
    })
}

/// Reads the header of the batch at `block`; the places in the result lie within `bytes`.
fn parse_batch(bytes: &[u8], block: &ipc::Block, columns: &[ColumnShape]) -> Result<Layout, String> {
    let outside = || "it lies outside the file".to_owned();
    let at = |offset: i64| usize::try_from(offset).map_err(|_| outside());
    let (start, body_len) = (at(block.offset())?, at(block.bodyLength())?);
    let header_len = at(block.metaDataLength().into())?;
    let body_start = start.checked_add(header_len).ok_or_else(outside)?;
    let body_end = body_start.checked_add(body_len).filter(|end| *end <= bytes.len()).ok_or_else(outside)?;

    // Four bytes that mark a message, its length, the message.
    let header = bytes.get(start..body_start).ok_or_else(outside)?;
    let message = header.strip_prefix(&[0xff; 4]).and_then(|rest| rest.get(4..)).ok_or("its header cannot be read")?;
    let message = ipc::root_as_message(message).map_err(|_| "its header cannot be read")?;
    let batch = message.header_as_record_batch().ok_or("it is no batch of rows")?;
    let is_canonical = message.version() == ipc::MetadataVersion::V5
        && message.bodyLength() == block.bodyLength()
        && message.custom_metadata().is_none()
        && batch.compression().is_none();
    if !is_canonical {
        return Err("it is not in canonical form".into());
    }
    let nodes =
        batch.nodes().filter(|nodes| nodes.len() == columns.len()).ok_or("its columns are not those of the schema")?;
    let buffers = batch.buffers().ok_or("it has no buffers")?;
    let n_rows = at(batch.length())?;

    let mut next = 0;
    let mut take = |n_bytes: Option<usize>| -> Result<Range<usize>, String> {
        let buffer = (next < buffers.len()).then(|| buffers.get(next)).ok_or("it has too few buffers")?;
        next += 1;
        let (offset, len) = (at(buffer.offset())?, at(buffer.length())?);
        let begin = body_start.checked_add(offset).ok_or_else(outside)?;
        let end = begin.checked_add(len).filter(|end| *end <= body_end).ok_or_else(outside)?;
        if begin % 64 != 0 {
            return Err("a buffer is not aligned".into());
        }
        if n_bytes.is_some_and(|n_bytes| n_bytes != len) {
            return Err("a buffer does not have the length of its rows".into());
        }
        Ok(begin..end)
    };
    let mut places = Vec::with_capacity(columns.len());
    for (i, column) in columns.iter().enumerate() {
        let node = nodes.get(i);
        let n_blank = at(node.null_count())?;
        if at(node.length())? != n_rows || n_blank > n_rows || (n_blank > 0 && !column.optional) {
            return Err(format!("the counts of column `{}` are wrong", column.name));
        }
        let n_bits = n_rows.div_ceil(8);
        let validity = take(Some(if n_blank > 0 { n_bits } else { 0 }))?;
        let width = |n_bytes: usize| n_rows.checked_mul(n_bytes);
        let buffers = match column.scalar {
            Scalar::Bool => vec![take(Some(n_bits))?],
            Scalar::Date => vec![take(width(4))?],
            Scalar::Int | Scalar::Float | Scalar::Timestamp | Scalar::Duration => vec![take(width(8))?],
            Scalar::Decimal { .. } => vec![take(width(16))?],
            Scalar::Str => vec![take((n_rows + 1).checked_mul(4))?, take(None)?],
        };
        places.push(ColumnLayout { n_blank, validity: (n_blank > 0).then_some(validity), buffers });
    }
    if next != buffers.len() {
        return Err("it has too many buffers".into());
    }
    Ok(Layout { n_rows, columns: places })
}
