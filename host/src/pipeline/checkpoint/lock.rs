//! One process at a time for each checkpoint: two that went on with the same upload would spoil it for both.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::document::local;
use super::refused;
use crate::error::Result;

/// After so many lock files that vanished under our hands something else is wrong.
const MOST_TRIES: u32 = 16;

/// Held as long as a process may use a checkpoint. The lock is the kernel's: it ends with the process, however that ends.
pub(in crate::pipeline) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock of the checkpoint at `path`.
    ///
    /// # Errors
    /// `checkpoint-refused` if another process has it, `local-file` if it cannot be taken.
    pub(in crate::pipeline) fn take(path: &Path) -> Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let beside = PathBuf::from(name);
        for _ in 0..MOST_TRIES {
            let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&beside);
            let file = opened.map_err(|why| local(path, "locked", &why))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(refused(path, "is in use by another process")),
                Err(TryLockError::Error(why)) => return Err(local(path, "locked", &why)),
            }
            // Whoever had it may have removed it in between.
            if is_at(&file, &beside) {
                return Ok(Self { path: beside, _file: file });
            }
        }
        Err(local(path, "locked", &io::Error::other("its lock keeps vanishing")))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked: nobody else removes it. If it stays, it is empty and nobody's.
        let _ = fs::remove_file(&self.path);
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let inode = |meta: &fs::Metadata| (meta.dev(), meta.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(ours), Ok(there)) if inode(&ours) == inode(&there))
}

#[cfg(test)]
mod tests {
    use super::super::document::tests::Folder;
    use super::*;
    use crate::error::Code;

    #[test]
    fn one_process_at_a_time() {
        let folder = Folder::new();
        let path = folder.0.join("checkpoint");
        let lock = Lock::take(&path).unwrap();
        assert_eq!(Lock::take(&path).map(drop).unwrap_err().code(), Code::CheckpointRefused);
        drop(lock);
        assert!(!folder.0.join("checkpoint.lock").exists(), "nothing is left of it");
        // One that was killed leaves a file that nobody holds.
        fs::write(folder.0.join("checkpoint.lock"), "").unwrap();
        drop(Lock::take(&path).unwrap());
        assert_eq!(Lock::take(Path::new("/nonexistent/x")).map(drop).unwrap_err().code(), Code::LocalFile);
    }
}
