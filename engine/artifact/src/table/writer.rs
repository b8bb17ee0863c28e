//! Writes a table row batch by row batch; memory holds one canonical batch at a time.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use arrow::record_batch::RecordBatch;

use super::canonical::{ColumnBuilder, dense};
use super::{BATCH_ROWS, ColumnShape, TableError, check_columns, schema_of};

/// Writes one table. Equal rows give equal bytes, however they are cut into batches.
pub struct Writer {
    file: FileWriter<Out>,
    path: PathBuf,
    columns: Vec<ColumnBuilder>,
    n_buffered: usize,
    n_rows: u64,
}

impl Writer {
    /// Starts a table in a new file at `path`.
    pub fn create(path: &Path, columns: &[ColumnShape]) -> Result<Self, TableError> {
        let file = File::create(path).map_err(|source| TableError::Write { path: path.to_owned(), source })?;
        Self::over(Out::File(BufWriter::with_capacity(1 << 16, file)), path, columns)
    }

    /// Starts a small table in memory; errors call it `path`.
    pub fn in_memory(path: &Path, columns: &[ColumnShape]) -> Result<Self, TableError> {
        Self::over(Out::Memory(Vec::new()), path, columns)
    }

    fn over(file: Out, path: &Path, columns: &[ColumnShape]) -> Result<Self, TableError> {
        check_columns(columns)?;
        let fail = |source| TableError::Write { path: path.to_owned(), source };
        // Spelled out, so that another default of the library does not change our bytes.
        let file = IpcWriteOptions::try_new(64, false, MetadataVersion::V5)
            .and_then(|options| FileWriter::try_new_with_options(file, &schema_of(columns), options))
            .map_err(|error| fail(io_error(error)))?;
        let columns = columns.iter().cloned().map(ColumnBuilder::new).collect();
        Ok(Self { file, path: path.to_owned(), columns, n_buffered: 0, n_rows: 0 })
    }

    /// Appends rows: a batch of any size, slicing and encoding whose columns have the names of the table, in order.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), TableError> {
        let names = |columns: &mut dyn Iterator<Item = &str>| {
            columns.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        let schema = batch.schema();
        let found = || schema.fields().iter().map(|field| field.name().as_str());
        let expected = || self.columns.iter().map(|column| column.shape.name.as_str());
        if !found().eq(expected()) {
            let (expected, found) = (names(&mut expected()), names(&mut found()));
            return Err(TableError::OtherColumns { expected, found });
        }
        let mut start = 0;
        while start < batch.num_rows() {
            let n = (batch.num_rows() - start).min(BATCH_ROWS - self.n_buffered);
            for (column, array) in self.columns.iter_mut().zip(batch.columns()) {
                let array = dense(&column.shape, &array.slice(start, n))?;
                column.append(&array).map_err(|error| error.in_row(&column.shape, self.n_rows))?;
            }
            start += n;
            self.n_buffered += n;
            self.n_rows += n as u64;
            if self.n_buffered == BATCH_ROWS {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Ends the file and returns the number of rows. Does not sync: that is for whoever keeps the file.
    pub fn finish(self) -> Result<u64, TableError> {
        self.finish_with_bytes().map(|(n_rows, _)| n_rows)
    }

    /// As [`Writer::finish`], with the bytes of a table in memory; there are none of one in a file.
    pub fn finish_with_bytes(mut self) -> Result<(u64, Vec<u8>), TableError> {
        if self.n_buffered > 0 {
            self.flush()?;
        }
        let fail = |error| TableError::Write { path: self.path.clone(), source: io_error(error) };
        self.file.finish().map_err(fail)?;
        match self.file.into_inner().map_err(fail)? {
            Out::Memory(bytes) => Ok((self.n_rows, bytes)),
            Out::File(_) => Ok((self.n_rows, Vec::new())),
        }
    }

    fn flush(&mut self) -> Result<(), TableError> {
        let arrays = self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        self.n_buffered = 0;
        RecordBatch::try_new(self.file.schema().clone(), arrays)
            .and_then(|batch| self.file.write(&batch))
            .map_err(|error| TableError::Write { path: self.path.clone(), source: io_error(error) })
    }
}

/// Where a table goes.
enum Out {
    File(BufWriter<File>),
    Memory(Vec<u8>),
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Memory(all) => all.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Memory(_) => Ok(()),
        }
    }
}

fn io_error(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, source) => source,
        other => io::Error::other(other),
    }
}
