//! Machine code of components, kept so that only the first step of a component waits for the compiler.
//!
//! Loading machine code from a file means running whatever is in it. So the files lie in a folder of the user's own,
//! and each begins with a keyed hash under a random key that only the user can read: a file that was changed, renamed
//! or made by somebody else is not loaded, but made again. They are never shared between users or machines.

use std::fs::OpenOptions;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use mlp_model::{Digest, StepError};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::component::MAX_BYTES;
use crate::{cache, fail};

/// How many compiled components are kept; the one of a Python transform has about 40 MB.
const MAX_KEPT: usize = 24;
const MAX_CODE_BYTES: u64 = 1 << 30;
const MAC_BYTES: usize = 32;

/// Returns the compiled component; compiles it if need be. `say` is told of what takes time.
pub fn load(
    cache: &Path,
    engine: &Engine,
    component: &[u8],
    say: &mut dyn FnMut(&str),
) -> Result<Component, StepError> {
    let folder = cache::private_folder(cache, "compiled")?;
    let key_file = folder.join("key");
    let key = secret(&key_file).map_err(|error| fail::cache(&key_file, "use", &error))?;
    let name = format!("{}-{}", Digest::of(component), code_version(engine));
    let path = folder.join(format!("{name}.cwasm"));
    if let Some(loaded) = kept(engine, &path, &name, &key) {
        cache::touch(&path);
        return Ok(loaded);
    }
    if component.len() as u64 > MAX_BYTES {
        return Err(fail::component(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
    }
    let lock_file = folder.join(format!("{name}.lock"));
    let _lock = cache::lock(&lock_file).map_err(|error| fail::cache(&lock_file, "lock", &error))?;
    // Another process may have compiled it meanwhile.
    if let Some(loaded) = kept(engine, &path, &name, &key) {
        return Ok(loaded);
    }
    say("compiling the transform, once");
    let compiled = Component::new(engine, component).map_err(|error| fail::component(error.root_cause()))?;
    let code = compiled.serialize().map_err(|error| fail::bug(format!("machine code cannot be stored: {error}")))?;
    let mac = authenticate(&key, &name, &code);
    cache::write(&path, &[mac.as_bytes(), &code]).map_err(|error| fail::cache(&path, "write", &error))?;
    cache::prune(&folder, ".cwasm", MAX_KEPT);
    Ok(compiled)
}

fn kept(engine: &Engine, path: &Path, name: &str, key: &[u8; MAC_BYTES]) -> Option<Component> {
    let code = read(path, name, key)?;
    // SAFETY: the bytes are those that `Component::serialize` gave to a process of this user: only such a process knows
    // the key of their hash, which covers the name too. wasmtime itself refuses code of another version or
    // configuration.
    unsafe { Component::deserialize(engine, &code) }.ok()
}

/// Returns the code if the file is whole and ours.
fn read(path: &Path, name: &str, key: &[u8; MAC_BYTES]) -> Option<Vec<u8>> {
    let mut bytes = cache::read(path, MAX_CODE_BYTES).ok()??;
    if bytes.len() < MAC_BYTES {
        return None;
    }
    let code = bytes.split_off(MAC_BYTES);
    let mac: [u8; MAC_BYTES] = bytes.try_into().ok()?;
    // `blake3::Hash` compares in constant time.
    (authenticate(key, name, &code) == blake3::Hash::from_bytes(mac)).then_some(code)
}

fn authenticate(key: &[u8; MAC_BYTES], name: &str, code: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name.as_bytes());
    hasher.update(code);
    hasher.finalize()
}

/// Names wasmtime's version, the settings and the processor's features: code fits only where all are the same.
fn code_version(engine: &Engine) -> String {
    struct Blake(blake3::Hasher);
    impl Hasher for Blake {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Blake(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().to_hex()[..16].to_owned()
}

/// Returns the key of this user's files, drawn on first use.
fn secret(path: &Path) -> io::Result<[u8; MAC_BYTES]> {
    let mut key = [0; MAC_BYTES];
    if let Some(found) = read_secret(path)? {
        return Ok(found);
    }
    let mut n_drawn = 0;
    while let Some(rest) = key.get_mut(n_drawn..).filter(|rest| !rest.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(n_bytes) => n_drawn += n_bytes,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Written beside and linked, so that no process ever reads half a key, and the first one wins.
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(key),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            if let Some(found) = read_secret(path)? {
                return Ok(found);
            }
            // Damaged: what was made with it is lost anyway.
            error.file.persist(path).map_err(|error| error.error)?;
            Ok(key)
        }
        Err(error) => Err(error.error),
    }
}

/// `None`: there is no key, or it is not one that only the user can read.
fn read_secret(path: &Path) -> io::Result<Option<[u8; MAC_BYTES]>> {
    let mut file = match OpenOptions::new().read(true).custom_flags(nofollow()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    let own = found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
    let mut key = [0; MAC_BYTES];
    if !own || found.len() != MAC_BYTES as u64 || file.read_exact(&mut key).is_err() {
        return Ok(None);
    }
    Ok(Some(key))
}

fn nofollow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Profile, engine};

    /// Loads, and tells whether the compiler was needed.
    fn compiles(cache: &Path, profile: Profile) -> bool {
        let component = wat::parse_str("(component)").unwrap();
        let mut said = false;
        load(cache, &engine(profile).unwrap(), &component, &mut |_| said = true).unwrap();
        said
    }

    fn file_of(cache: &Path) -> std::path::PathBuf {
        let mut files = cache.join("compiled").read_dir().unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|end| end == "cwasm")).unwrap()
    }

    #[test]
    fn a_component_is_compiled_once_for_each_profile() {
        let cache = tempfile::tempdir().unwrap();
        assert!(compiles(cache.path(), Profile::Strict));
        assert!(!compiles(cache.path(), Profile::Strict));
        assert!(compiles(cache.path(), Profile::Fast));
    }

    #[test]
    fn changed_code_is_not_loaded_but_made_again() {
        let cache = tempfile::tempdir().unwrap();
        compiles(cache.path(), Profile::Strict);
        let path = file_of(cache.path());
        let good = std::fs::read(&path).unwrap();
        for damage in [0, MAC_BYTES, good.len() - 1] {
            let mut bad = good.clone();
            bad[damage] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert!(compiles(cache.path(), Profile::Strict), "byte {damage}");
            assert_eq!(std::fs::read(&path).unwrap(), good, "byte {damage}");
        }
        for length in [0, MAC_BYTES - 1, MAC_BYTES, good.len() - 1] {
            std::fs::write(&path, &good[..length]).unwrap();
            assert!(compiles(cache.path(), Profile::Strict), "length {length}");
        }
    }

    #[test]
    fn code_of_another_component_or_key_is_not_loaded() {
        let cache = tempfile::tempdir().unwrap();
        compiles(cache.path(), Profile::Strict);
        let strict = file_of(cache.path());
        let code = std::fs::read(&strict).unwrap();
        std::fs::remove_file(&strict).unwrap();
        compiles(cache.path(), Profile::Fast);
        std::fs::write(file_of(cache.path()), code).unwrap();
        assert!(compiles(cache.path(), Profile::Fast));

        let key = cache.path().join("compiled/key");
        assert_eq!(key.metadata().unwrap().mode() & 0o777, 0o600);
        std::fs::remove_file(&key).unwrap();
        assert!(compiles(cache.path(), Profile::Fast));
        // A key that others can read is no secret.
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(compiles(cache.path(), Profile::Fast));
    }
}
