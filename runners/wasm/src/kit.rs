//! What every Python transform is built with: the interface, the SDK, and the guest's side of both.
//!
//! All of it is part of this program and written to a folder for each build, so an installed `mlp` needs no sources
//! beside it, and a component always fits the host that runs it.

use std::io;
use std::path::{Path, PathBuf};

use mlp_model::Digest;

/// The version of componentize-py that components are built with; `runners/setup.sh` gets the same.
pub const COMPONENTIZE_PY: &str = "0.25.1";

/// The world that components are built for.
pub const WORLD: &str = "transform";
/// The Python module that implements it.
pub const GUEST_MODULE: &str = "mlp_guest";
/// The name under which the guest looks for the user's source.
pub const SOURCE_FILE: &str = "mlp_user_source.py";

const ENTROPY: (&str, &[u8]) = ("entropy.so", include_bytes!(concat!(env!("OUT_DIR"), "/entropy.so")));

/// What decides how a component behaves, by path.
const FILES: [(&str, &str); 9] = [
    ("wit/transform.wit", include_str!("../wit/transform.wit")),
    ("sdk/mlp/__init__.py", include_str!("../sdk/python/mlp/__init__.py")),
    ("sdk/mlp/_batch.py", include_str!("../sdk/python/mlp/_batch.py")),
    ("sdk/mlp/_errors.py", include_str!("../sdk/python/mlp/_errors.py")),
    ("sdk/mlp/_transform.py", include_str!("../sdk/python/mlp/_transform.py")),
    ("guest/mlp_columns.py", include_str!("../sdk/python/guest/mlp_columns.py")),
    ("guest/mlp_guest.py", include_str!("../sdk/python/guest/mlp_guest.py")),
    ("guest/mlp_sandbox.py", include_str!("../sdk/python/guest/mlp_sandbox.py")),
    // In place of the library made of it: compilers differ in bytes, not in what it does.
    ("entropy.c", include_str!("../sdk/entropy.c")),
];

/// Where the parts of a written kit are.
pub struct Written {
    pub wit: PathBuf,
    pub python: [PathBuf; 2],
    pub entropy: PathBuf,
}

/// Returns the digest of all files, by which caches and cache keys name the kit.
pub fn digest() -> Digest {
    let mut bytes = Vec::new();
    for (path, text) in FILES {
        for part in [path, text] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    Digest::of(&bytes)
}

/// Writes the kit into an empty folder.
pub fn write_to(folder: &Path) -> io::Result<Written> {
    for (path, text) in FILES {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    let entropy = folder.join(ENTROPY.0);
    std::fs::write(&entropy, ENTROPY.1)?;
    Ok(Written { wit: folder.join("wit"), python: [folder.join("sdk"), folder.join("guest")], entropy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_python_file_of_the_sdk_is_in_the_kit() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/python");
        for (folder, prefix) in [("mlp", "sdk/mlp"), ("guest", "guest")] {
            for entry in std::fs::read_dir(sdk.join(folder)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let kept = FILES.iter().any(|(path, _)| *path == format!("{prefix}/{name}"));
                assert!(kept || !name.ends_with(".py"), "{folder}/{name} is missing from the kit");
            }
        }
    }

    #[test]
    fn the_set_up_gets_the_version_that_is_asked_for() {
        let setup = include_str!("../../setup.sh");
        assert!(setup.contains(&format!("\nCOMPONENTIZE={COMPONENTIZE_PY}\n")));
    }
}
