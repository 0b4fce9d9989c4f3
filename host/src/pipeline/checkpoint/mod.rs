//! What another process needs to go on where this one was killed, kept in a file while the layer travels.
//!
//! A later run of the same command asks the registry what it has. If the disk flows as it comes from its source, it is read
//! from the last mark of all hashes in front of that; else, behind a filter, a spool or in front of a compressor, everything
//! runs again from the first byte, and what the registry has is not sent. Either way hashes that pass an old mark must find
//! what was found before.

mod course;
mod document;
mod lock;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use url::Url;

pub(super) use course::{Course, course, saved};
pub(super) use document::Document;
use document::{SavedBlob, all_written, local, remove, written};
pub(super) use lock::Lock;

use super::layer::SentLayer;
use crate::error::{Code, Error, Result, Stage};
use crate::stream::{Begun, Marks};

/// How often it is looked whether there are new marks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The least time between two versions: a registry that takes chunks says a new location with each.
const AT_MOST_EVERY: Duration = Duration::from_millis(100);

/// A checkpoint that is kept. Dropped, it stays as it was written last.
pub(super) struct Checkpoint {
    path: PathBuf,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Held by whoever writes the file.
    writing: Mutex<()>,
}

struct State {
    document: Document,
    marks: AllMarks,
    /// The last mark that was written.
    written: u64,
    dirty: bool,
    ended: bool,
}

/// The marks of everything that is hashed.
pub(super) struct AllMarks {
    /// Of the layer as it is stored.
    pub(super) layer: Marks,
    /// Of the bytes as received.
    pub(super) received: Begun,
    /// Of the disk.
    pub(super) disk: Begun,
}

impl Checkpoint {
    /// Begins to keep one at `path`.
    ///
    /// # Errors
    /// `local-file` if it cannot be written.
    pub(super) fn keep(path: &Path, document: Document, marks: AllMarks) -> Result<Self> {
        let state = State { document, marks, written: 0, dirty: false, ended: false };
        state.now().write(path).map_err(|why| local(path, "written", &why))?;
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), writing: Mutex::new(()) });
        let (for_writer, its_path) = (Arc::clone(&shared), path.to_owned());
        let writer = thread::Builder::new().name("checkpoint".to_owned()).spawn(move || for_writer.write(&its_path));
        let writer =
            writer.map_err(|why| Error::internal(Stage::Plan, format!("no thread for the checkpoint: {why}")))?;
        Ok(Self { path: path.to_owned(), shared, writer: Some(writer) })
    }

    /// Who notes where the upload session stands.
    pub(super) fn on_location(&self) -> impl Fn(&Url) + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move |location| shared.change(|state| state.document.location = Some(location.to_string()))
    }

    /// Every byte of the layer was sent and is what was demanded: from now on it only has to be committed.
    ///
    /// # Errors
    /// `local-file` if that cannot be written.
    pub(super) fn sent(&self, layer: &SentLayer) -> Result<()> {
        self.shared.change(|state| state.document.sent = Some(SavedBlob::of(layer)));
        self.write_now()
    }

    /// Ends it: nothing is left to continue.
    ///
    /// # Errors
    /// `local-file` if it cannot be removed.
    pub(super) fn done(mut self) -> Result<()> {
        self.end();
        remove(&self.path).map_err(|why| local(&self.path, "removed", &why))
    }

    /// Leaves it to a later run. Says what that is.
    pub(super) fn leave(mut self) -> String {
        self.end();
        match self.write_now() {
            Ok(()) => {
                format!("the upload as far as it came, with which the same command goes on by {}", self.path.display())
            }
            Err(error) => format!("the upload as far as it came, without its last state: {error}"),
        }
    }

    fn write_now(&self) -> Result<()> {
        self.shared.put(&self.path).map_err(|why| local(&self.path, "written", &why))
    }

    fn end(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has written nothing half.
            let _ = writer.join();
        }
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.dirty = true;
        drop(state);
        self.changed.notify_all();
    }

    /// Writes the state as it is now.
    fn put(&self, path: &Path) -> io::Result<()> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, now) = {
            let mut state = self.lock();
            state.dirty = false;
            (state.marks.layer.last(), state.now())
        };
        now.write(path)?;
        self.lock().written = last;
        Ok(())
    }

    /// Writes each change until the end.
    fn write(&self, path: &Path) {
        let mut failing = false;
        loop {
            let began = Instant::now();
            let waits = |state: &mut State| !state.ended && !state.dirty && state.marks.layer.last() <= state.written;
            let state = self.lock();
            let waited = self.changed.wait_timeout_while(state, LOOK_EVERY, waits);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.ended {
                return;
            }
            if waits(&mut state) {
                continue;
            }
            drop(state);
            match self.put(path) {
                Ok(()) => failing = false,
                // The transfer is worth more than its checkpoint; the last version is still there.
                Err(why) if !failing => {
                    failing = true;
                    tracing::warn!(%why, "the checkpoint cannot be written");
                    self.lock().dirty = true;
                }
                Err(_) => self.lock().dirty = true,
            }
            let pause = if failing { LOOK_EVERY } else { AT_MOST_EVERY };
            let (state, left) = (self.lock(), pause.saturating_sub(began.elapsed()));
            drop(self.changed.wait_timeout_while(state, left, |state| !state.ended));
        }
    }
}

impl State {
    /// The document as it is now.
    fn now(&self) -> Document {
        Document {
            hashed: written(&self.marks.layer),
            received: all_written(&self.marks.received.marks),
            disk: all_written(&self.marks.disk.marks),
            ..self.document.clone()
        }
    }
}

/// The checkpoint is not of this import.
fn refused(path: &Path, why: &str) -> Error {
    Error::new(Code::CheckpointRefused, Stage::Plan, format!("the checkpoint {} {why}", path.display()))
        .hint("only the same command goes on where another one stopped; remove the file to start over")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::document::tests::{Folder, document};
    use super::*;

    fn marks() -> AllMarks {
        AllMarks { layer: Marks::new(0, BTreeMap::new()), received: Begun::default(), disk: Begun::default() }
    }

    #[test]
    fn changes_are_written_without_being_waited_for() {
        let folder = Folder::new();
        let path = folder.0.join("checkpoint");
        let checkpoint = Checkpoint::keep(&path, document(), marks()).unwrap();
        checkpoint.on_location()(&"https://r.example/elsewhere".parse().unwrap());
        for _ in 0..1000 {
            let read = Document::read(&path).unwrap().unwrap();
            if read.location.is_some_and(|location| location.ends_with("/elsewhere")) {
                checkpoint.done().unwrap();
                assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it was not written");
    }

    #[test]
    fn what_is_left_is_the_last_state() {
        let folder = Folder::new();
        let path = folder.0.join("checkpoint");
        let checkpoint = Checkpoint::keep(&path, document(), marks()).unwrap();
        checkpoint.on_location()(&"https://r.example/last".parse().unwrap());
        assert!(checkpoint.leave().contains("the same command"));
        assert_eq!(Document::read(&path).unwrap().unwrap().location.unwrap(), "https://r.example/last");
        let nowhere = folder.0.join("no/such/checkpoint");
        assert_eq!(Checkpoint::keep(&nowhere, document(), marks()).err().unwrap().code(), Code::LocalFile);
    }
}
