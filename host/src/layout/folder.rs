//! The layout's folder on disk: one lock for whoever changes it, and partial files that nobody mistakes for blobs.
//!
//! Every change is made under an advisory lock of the folder itself, but for the bytes of a layer: those flow into a
//! partial file that is locked as long as its writer lives, so that the next import can tell what a crash left behind.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long another process may hold the folder: each change takes milliseconds.
const LOCK_WITHIN: Duration = Duration::from_secs(60);
/// How often the lock is tried.
const TRY_EVERY: Duration = Duration::from_millis(20);
/// The most bytes of an `oci-layout` file that are read.
const MAX_MARKER: u64 = 4096;

const MARKER: &str = "oci-layout";
const PARTIAL: &str = ".partial";

/// The folder, locked until this is dropped.
pub(super) struct Locked {
    _lock: File,
    layout: PathBuf,
}

/// Where blobs lie.
pub(super) fn blobs(layout: &Path) -> PathBuf {
    layout.join("blobs").join("sha256")
}

/// Makes the folder if it is not there, and locks it.
///
/// # Errors
/// If it cannot be made or opened, or another process holds it for too long.
pub(super) async fn lock(layout: &Path) -> io::Result<Locked> {
    fs::create_dir_all(layout)?;
    let lock = File::open(layout)?;
    let began = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(Locked { _lock: lock, layout: layout.to_owned() }),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_WITHIN => sleep(TRY_EVERY).await,
            Err(TryLockError::WouldBlock) => {
                let words = format!("another process has held it for {} s", LOCK_WITHIN.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, words));
            }
            Err(TryLockError::Error(why)) => return Err(why),
        }
    }
}

impl Locked {
    /// Makes it an image layout if it is an empty folder, and clears away what crashed imports left.
    ///
    /// # Errors
    /// If it is something else, or cannot be written.
    pub(super) fn prepare(&self) -> io::Result<()> {
        match File::open(self.layout.join(MARKER)) {
            Ok(file) => check_marker(file)?,
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                for entry in fs::read_dir(&self.layout)? {
                    if !is_partial(&entry?.path()) {
                        return Err(io::Error::other("the folder is not empty and not an image layout"));
                    }
                }
                self.replace(&self.layout.join(MARKER), b"{\"imageLayoutVersion\":\"1.0.0\"}")?;
            }
            Err(why) => return Err(why),
        }
        fs::create_dir_all(blobs(&self.layout))?;
        for folder in [self.layout.clone(), blobs(&self.layout)] {
            clear(&folder)?;
        }
        Ok(())
    }

    /// A new partial file among the blobs, locked as long as it is open.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn partial_blob(&self) -> io::Result<(PathBuf, File)> {
        let (path, file) = create_partial(&blobs(&self.layout))?;
        file.try_lock().map_err(io::Error::from)?;
        Ok((path, file))
    }

    /// Writes a file of the layout so that it has either its old content or all of the new.
    ///
    /// # Errors
    /// If it cannot be written; then nothing of it is left.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = path.parent().ok_or_else(|| io::Error::other("a file without a folder"))?;
        let (partial, mut file) = create_partial(folder)?;
        let written = file
            .write_all(bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&partial, path))
            .and_then(|()| File::open(folder)?.sync_all());
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&partial);
        }
        written
    }
}

fn check_marker(file: File) -> io::Result<()> {
    let mut text = String::new();
    file.take(MAX_MARKER).read_to_string(&mut text)?;
    let version: serde_json::Value = serde_json::from_str(&text)?;
    match version.get("imageLayoutVersion").and_then(serde_json::Value::as_str) {
        Some("1.0.0") => Ok(()),
        _ => Err(io::Error::other("its imageLayoutVersion is not 1.0.0")),
    }
}

/// A file under a name that nobody else has: process ids are the same in every container.
fn create_partial(folder: &Path) -> io::Result<(PathBuf, File)> {
    // Seeded by the system for each value.
    let chance = RandomState::new().build_hasher().finish();
    let path = folder.join(format!(".{chance:016x}{PARTIAL}"));
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    Ok((path, file))
}

fn is_partial(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        name.starts_with('.') && name.ends_with(PARTIAL)
    })
}

/// Removes partial files whose writer is gone.
fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !is_partial(&path) {
            continue;
        }
        let abandoned = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
        if abandoned {
            // Whoever cannot remove it can still write beside it.
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let chance = RandomState::new().build_hasher().finish();
            Self(Path::new(env!("OUT_DIR")).join(format!("layout-{name}-{chance:x}")))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn what_a_crash_left_is_cleared_and_what_is_being_written_is_not() {
        let scratch = Scratch::new("crash");
        let folder = lock(&scratch.0).await.unwrap();
        folder.prepare().unwrap();
        let (left, file) = folder.partial_blob().unwrap();
        drop(file);
        let (writing, _file) = folder.partial_blob().unwrap();
        folder.prepare().unwrap();
        assert!(!left.exists());
        assert!(writing.exists());
    }

    #[tokio::test]
    async fn a_folder_of_something_else_is_left_alone() {
        let scratch = Scratch::new("other");
        fs::create_dir_all(&scratch.0).unwrap();
        fs::write(scratch.0.join("thesis.txt"), "years of work").unwrap();
        assert!(lock(&scratch.0).await.unwrap().prepare().is_err());
        fs::remove_file(scratch.0.join("thesis.txt")).unwrap();
        fs::write(scratch.0.join(".0.partial"), "").unwrap();
        lock(&scratch.0).await.unwrap().prepare().unwrap();
        fs::write(scratch.0.join(MARKER), "{\"imageLayoutVersion\":\"2.0.0\"}").unwrap();
        assert!(lock(&scratch.0).await.unwrap().prepare().is_err());
    }

    #[tokio::test]
    async fn one_at_a_time() {
        let scratch = Scratch::new("lock");
        let first = lock(&scratch.0).await.unwrap();
        let path = scratch.0.clone();
        let second = tokio::spawn(async move { lock(&path).await.map(drop) });
        sleep(TRY_EVERY * 3).await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap().unwrap();
    }
}
