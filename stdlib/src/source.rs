//! `file` and `folder`: things beside the pipeline, as they are.

use mlp_model::{ArgError, CheckedCall, Inferred, InputType, Signature, Type};

use crate::declare::{Operation, input, one_output};

pub(crate) fn file() -> Signature {
    Operation {
        name: "file",
        version: 1,
        runner: "builtin",
        doc: "
Takes a file as it is.

`path` is relative to the `.mlp` file that writes it. The result is the file's bytes: its name, place and time stamps
do not count, so that touching or moving it changes nothing. Read it with `csv.read`, or give it to a program with `sh`.

    source words = file(\"data/words.txt\")

Errors: a file that is missing or cannot be read, or that changes meanwhile.
",
        args: vec![input("path", InputType::File, "the file, relative to the pipeline's own file")],
    }
    .source(infer_file)
}

pub(crate) fn folder() -> Signature {
    Operation {
        name: "folder",
        version: 1,
        runner: "builtin",
        doc: "
Takes a folder with all that is in it.

`path` is relative to the `.mlp` file that writes it. The result is the set of files below it: relative path, bytes
and whether a file is executable; a link to a file counts as that file. Time stamps, owners, the order of listing and
empty folders do not count.

    source images = folder(\"data/images\")

Errors: a folder that is missing or cannot be read; anything else in it, such as a link to a folder.
",
        args: vec![input("path", InputType::Folder, "the folder, relative to the pipeline's own file")],
    }
    .source(infer_folder)
}

fn infer_file(_: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    Ok(one_output(Type::File))
}

fn infer_folder(_: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    Ok(one_output(Type::Folder))
}
