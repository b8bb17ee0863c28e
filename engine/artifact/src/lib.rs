//! The canonical forms of tables, models, reports and folders.
//!
//! An artifact is known by the BLAKE3 digest of its bytes, so equal content must give equal bytes: on any machine,
//! whatever the batching, thread count or library order it was made with. Each form lives in one module, and a golden
//! digest beside it fails a test when its bytes change. No form holds a time, path, host, run or step name.
//!
//! Knows no store, pipeline or step: it writes a file and reads one back. What it reads may be damaged or hostile; every
//! length and offset is checked, and a bad file gives an error that says what is wrong with it.

pub mod differ;
pub mod folder;
mod json;
pub mod model;
pub mod report;
pub mod table;
