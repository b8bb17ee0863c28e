//! Reads object files and judges what stands in them: plain or encrypted, whole or not. Changes nothing.

use std::io::ErrorKind;
use std::path::Path;

use mlp_model::{Digest, StoreError};

use crate::failure::OrFail;
use crate::footer::{FOOTER_LEN, Footer};
use crate::fs::{Access, Fs, FsFile, Stamp, read_full};
use crate::seal::{self, Header, Keys};

/// How many bytes are hashed at a time; from here on several threads help.
const CHUNK: usize = 1 << 22;

/// What a look at an object's bytes comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    Absent,
    Damaged,
    /// It is encrypted, and a key for it was erased.
    Erased,
    Sound {
        stamp: Stamp,
        footer: Footer,
    },
}

/// Reads the object file at `path` and compares it with its digest.
///
/// # Errors
/// [`StoreError::Key`], if it is encrypted and the keys for it are not there.
pub(crate) fn check(fs: &dyn Fs, digest: &Digest, path: &Path, keys: &Keys) -> Result<Checked, StoreError> {
    let file = match fs.open(path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Checked::Absent),
        Err(error) => return Err(error).or_fail("open", path),
    };
    let stat = file.stat().or_fail("look at", path)?;
    let Some(payload) = stat.stamp.size_bytes.checked_sub(FOOTER_LEN as u64).filter(|_| stat.is_file) else {
        return Ok(Checked::Damaged);
    };
    let Some(footer) = read_footer(&*file, path)? else { return Ok(Checked::Damaged) };
    let is_sound = match footer.key_id {
        None => hash(&*file, payload).or_fail("read", path)? == *digest,
        Some(_) => match read_sealed(&*file, path, (digest, payload, footer), keys, &mut |_| Ok(()))? {
            Sealed::Opened => true,
            Sealed::Erased => return Ok(Checked::Erased),
            Sealed::Damaged => false,
        },
    };
    Ok(if is_sound { Checked::Sound { stamp: stat.stamp, footer } } else { Checked::Damaged })
}

/// What an attempt to read an encrypted object comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sealed {
    Opened,
    Erased,
    Damaged,
}

/// Decrypts an object file whose payload has `payload` bytes, and checks all that its header and its footer say.
pub(crate) fn read_sealed(
    file: &dyn FsFile,
    path: &Path,
    (digest, payload, footer): (&Digest, u64, Footer),
    keys: &Keys,
    sink: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<Sealed, StoreError> {
    let Some((header, start)) = Header::read(file).or_fail("read", path)? else { return Ok(Sealed::Damaged) };
    let fits = footer.key_id == Some(header.key_id())
        && footer.sensitivity == header.sensitivity
        && seal::sealed_len(start, header.size_bytes) == payload;
    if !fits {
        return Ok(Sealed::Damaged);
    }
    let Some(keys) = keys.for_reading(&header)? else { return Ok(Sealed::Erased) };
    let keys: Vec<_> = keys.iter().map(|key| &**key).collect();
    let is_sound = seal::decrypt((&header, digest, &keys), (file, start), sink).or_fail("decrypt", path)?;
    Ok(if is_sound { Sealed::Opened } else { Sealed::Damaged })
}

/// Returns what the footer says, if there is a whole one.
pub(crate) fn read_footer(file: &dyn FsFile, path: &Path) -> Result<Option<Footer>, StoreError> {
    let size_bytes = file.stat().or_fail("look at", path)?.stamp.size_bytes;
    let Some(payload) = size_bytes.checked_sub(FOOTER_LEN as u64) else { return Ok(None) };
    let mut end = [0; FOOTER_LEN];
    read_full(file, &mut end, payload).or_fail("read", path)?;
    Footer::decode(&end, size_bytes)
}

/// Hashes the first `size_bytes` bytes of an open file. A shorter file is an error.
pub(crate) fn hash(file: &dyn FsFile, size_bytes: u64) -> std::io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK.min(usize::try_from(size_bytes).unwrap_or(CHUNK))];
    let mut offset = 0;
    while offset < size_bytes {
        let wanted = usize::try_from(size_bytes - offset).unwrap_or(CHUNK).min(CHUNK);
        let Some(chunk) = buffer.get_mut(..wanted) else { break };
        if read_full(file, chunk, offset)? != wanted {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if wanted < CHUNK / 4 {
            hasher.update(chunk);
        } else {
            hasher.update_rayon(chunk);
        }
        offset += wanted as u64;
    }
    Ok(Digest(*hasher.finalize().as_bytes()))
}
