//! The keys of a workspace's partitions, from where `mlp.yaml` says: a folder of files, or a command.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use mlp_store::{Encryption, Key, Keyring};
use zeroize::Zeroizing;

use crate::settings::{KeysFrom, Settings};

/// Tells the command which key is meant.
const VARIABLE: &str = "MLP_PARTITION";

/// Returns how a workspace encrypts, if it does.
pub fn encryption(root: &Path, settings: &Settings) -> Option<Encryption> {
    let settings = settings.encryption.as_ref()?;
    let keyring: Arc<dyn Keyring> = match &settings.keys {
        KeysFrom::Folder(folder) => Arc::new(Folder { folder: root.join(folder), shown: folder.clone() }),
        KeysFrom::Command { tell, destroy } => {
            Arc::new(Commands { root: root.to_owned(), tell: tell.clone(), destroy: destroy.clone() })
        }
    };
    Some(Encryption { partition: settings.partition.clone(), keyring })
}

/// One file a partition: `NAME.key`.
struct Folder {
    folder: PathBuf,
    shown: PathBuf,
}

impl Folder {
    fn file(&self, partition: &str) -> PathBuf {
        self.folder.join(format!("{partition}.key"))
    }

    fn overwrite_and_remove(path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        file.write_all(&vec![0; len])?;
        file.sync_all()?;
        fs::remove_file(path)?;
        File::open(path.parent().unwrap_or(path))?.sync_all()
    }
}

impl Keyring for Folder {
    fn key(&self, partition: &str) -> Result<Option<Key>, String> {
        let path = self.file(partition);
        let unread = |error: io::Error| format!("cannot be read: {error}");
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unread(error)),
        };
        if found.permissions().mode() & 0o077 != 0 {
            return Err("can be read by other users; `chmod 600` keeps it yours".to_owned());
        }
        parse(fs::read(&path).map_err(unread)?)
    }

    fn destroy(&self, partition: &str) -> Result<(), String> {
        match Self::overwrite_and_remove(&self.file(partition)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(format!("cannot be destroyed: {error}")),
            _ => Ok(()),
        }
    }

    fn place(&self, partition: &str) -> String {
        format!("`{}`", self.shown.join(format!("{partition}.key")).display())
    }
}

/// Commands of the shell, which find the name of the partition in their environment.
struct Commands {
    root: PathBuf,
    tell: String,
    destroy: Option<String>,
}

impl Commands {
    /// What the command prints on standard error is the user's to see, and not kept.
    fn run(&self, command: &str, partition: &str) -> Result<Vec<u8>, String> {
        let ran = Command::new("/bin/sh")
            .args([OsStr::new("-e"), OsStr::new("-c"), OsStr::new(command)])
            .env(VARIABLE, partition)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("cannot be asked for: its command does not start: {error}"))?;
        if ran.status.success() {
            Ok(ran.stdout)
        } else {
            Err(format!("cannot be asked for: its command failed: {}", ran.status))
        }
    }
}

impl Keyring for Commands {
    fn key(&self, partition: &str) -> Result<Option<Key>, String> {
        let told = self.run(&self.tell, partition)?;
        if told.is_empty() { Ok(None) } else { parse(told) }
    }

    fn destroy(&self, partition: &str) -> Result<(), String> {
        let command = self.destroy.as_deref();
        let command = command.ok_or("cannot be destroyed: `encryption.keys` has no command `destroy`")?;
        self.run(command, partition).map(|_| ())
    }

    fn place(&self, partition: &str) -> String {
        format!("what the command of `encryption.keys` prints for `{partition}`")
    }
}

/// Reads a key, and wipes what it was read from.
fn parse(bytes: Vec<u8>) -> Result<Option<Key>, String> {
    Key::read(&Zeroizing::new(bytes))
        .map(Some)
        .ok_or_else(|| "is no key: 64 hex digits, or 32 bytes; `openssl rand -hex 32` makes one".to_owned())
}
