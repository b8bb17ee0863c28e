//! Takes object files out of the store, but for those that a client relies on.
//!
//! The one place where object files are removed. A file first loses its name under the desk's lock, so that a client
//! which asks for the object either has been heard before or finds it gone; its bytes are freed after. Killed in between,
//! the next owner finds the rest among the scratch files. Unaware of why an object is to go.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use mlp_model::{Digest, Removed, StoreError, fail_point};

use super::desk::Desk;
use crate::failure::{OrFail, lock};
use crate::fs::Fs;
use crate::journal::group::ClientId;
use crate::layout::Layout;
use crate::scratch::Scratch;

pub(super) struct Collector {
    fs: Arc<dyn Fs>,
    layout: Layout,
    scratch: Scratch,
}

impl Collector {
    pub fn new(fs: Arc<dyn Fs>, layout: &Layout) -> Self {
        Self { fs, layout: layout.clone(), scratch: Scratch::new(layout) }
    }

    /// Removes the objects of `digests` (32 bytes each), in their order.
    pub fn remove(&self, desk: &Mutex<Desk>, client: &ClientId, digests: &[u8]) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        for digest in digests.as_chunks::<32>().0.iter().map(|bytes| Digest(*bytes)) {
            let (_, place) = self.layout.object(&digest);
            let stamp = match self.fs.stat(&place) {
                Ok(stat) => stat.stamp,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error).or_fail("look at", &place),
            };
            let aside = self.scratch.name();
            let desk = lock(desk);
            match desk.may_remove(client, &digest) {
                Some(true) => self.fs.rename(&place, &aside).or_fail("remove", &place)?,
                Some(false) => {
                    removed.n_in_use += 1;
                    continue;
                }
                None => {
                    let message = "it ended while objects were collected; those that are left can be collected again";
                    return Err(StoreError::Owner { message: message.to_owned() });
                }
            }
            drop(desk);
            fail_point("gc.put_aside");
            removed.n_objects += 1;
            removed.size_bytes += stamp.size_bytes;
            self.fs.remove_file(&aside).or_fail("remove", &aside)?;
        }
        Ok(removed)
    }

    /// Removes all files that were put aside as damaged. Returns how many, and their bytes.
    pub fn remove_damaged(&self) -> Result<(u64, u64), StoreError> {
        let folder = self.layout.damaged();
        let (mut n_files, mut size_bytes) = (0, 0);
        for entry in std::fs::read_dir(&folder).or_fail("list", &folder)? {
            let path = entry.or_fail("list", &folder)?.path();
            let stat = self.fs.stat(&path).or_fail("look at", &path)?;
            if stat.is_file {
                self.fs.remove_file(&path).or_fail("remove", &path)?;
                n_files += 1;
                size_bytes += stat.stamp.size_bytes;
            }
        }
        Ok((n_files, size_bytes))
    }
}
