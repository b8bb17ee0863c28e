//! Tests of the torch worker: numbers against scikit-learn and PyTorch, files, errors, and the program itself.

mod convex;
mod data;
mod encoding;
mod errors;
mod files;
mod mlp;
mod program;
mod real;
