//! `local`: the one granted file or standard input as a source component sees it.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use wasmtime::component::{Access, FutureReader, StreamReader};

use super::fetch::{Nothing, SourceView};
use super::source::SourceState;
use crate::bindings::{Failure, local};
use crate::engine::{HostStream, StoreState, host_future};
use crate::error::{Code, Error, Result, Stage};
use crate::stream::{Chunks, Helping, Pulse};

/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;

/// What a source may read on this machine.
#[derive(Clone, Debug)]
pub struct LocalGrant {
    input: Input,
    size: Option<u64>,
}

#[derive(Clone, Debug)]
enum Input {
    File { path: PathBuf, file: Arc<File>, revision: String },
    Standard { taken: Arc<AtomicBool> },
}

impl LocalGrant {
    /// Opens a regular file.
    ///
    /// # Errors
    /// `source-not-found`, `source-failed`; `unsupported` for what is no regular file.
    pub fn file(path: &Path) -> Result<Self> {
        let failed = |why: io::Error| {
            let code = match why.kind() {
                io::ErrorKind::NotFound => Code::SourceNotFound,
                _ => Code::SourceFailed,
            };
            Error::new(code, Stage::Source, format!("`{}` cannot be opened: {why}", path.display())).caused_by(why)
        };
        // Looked at before it is opened: opening a pipe would wait for its writer.
        let kind = std::fs::metadata(path).map_err(failed)?;
        if kind.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        if !kind.is_file() {
            let message = format!("`{}` is not a regular file; devices are not supported yet", path.display());
            return Err(Error::new(Code::Unsupported, Stage::Source, message));
        }
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let input = Input::File { path: path.to_owned(), file: Arc::new(file), revision: revision(&metadata) };
        Ok(Self { input, size: Some(metadata.len()) })
    }

    /// Standard input, with the size the user named.
    #[must_use]
    pub fn standard_input(size: Option<u64>) -> Self {
        Self { input: Input::Standard { taken: Arc::default() }, size }
    }

    fn revision(&self) -> Option<String> {
        match &self.input {
            Input::File { revision, .. } => Some(revision.clone()),
            Input::Standard { .. } => None,
        }
    }

    fn open(
        &self,
        offset: u64,
        length: Option<u64>,
        pulse: &Pulse,
        outcome: Sender,
    ) -> Result<LocalBytes, (Failure, Sender)> {
        let (reader, end) = match &self.input {
            Input::File { file, path, revision } => {
                let size = self.size.unwrap_or_default();
                if offset > size {
                    let words = format!("offset {offset} is behind the end of a file of {size} bytes");
                    return Err((Failure::Invalid(words), outcome));
                }
                let end = length.map_or(size, |length| offset.saturating_add(length));
                let shared = FileReader { file: Arc::clone(file), path: path.clone(), revision: revision.clone() };
                (Reader::File(shared), Some(end))
            }
            Input::Standard { taken } => {
                if offset != 0 || taken.swap(true, Ordering::Relaxed) {
                    let words = "standard input can be read once, from its start".to_owned();
                    return Err((Failure::Gone(words), outcome));
                }
                (Reader::Standard, length)
            }
        };
        Ok(LocalBytes { reader, offset, end, job: None, outcome: Some(outcome), pulse: pulse.clone(), helping: None })
    }
}

/// Inode, length and modification time: what changes when somebody writes or replaces the file.
fn revision(metadata: &Metadata) -> String {
    format!("{:x}-{:x}-{:x}.{:09}", metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

type Sender = oneshot::Sender<Result<(), Failure>>;

#[derive(Clone)]
enum Reader {
    File(FileReader),
    Standard,
}

#[derive(Clone)]
struct FileReader {
    file: Arc<File>,
    path: PathBuf,
    revision: String,
}

/// Bytes read in the blocking pool, one job at a time.
struct LocalBytes {
    reader: Reader,
    offset: u64,
    /// Where to stop; none = at the end of the input.
    end: Option<u64>,
    job: Option<JoinHandle<io::Result<Bytes>>>,
    outcome: Option<Sender>,
    pulse: Pulse,
    helping: Option<Helping>,
}

impl LocalBytes {
    fn finish(&mut self, outcome: Result<(), Failure>) -> Poll<Option<Result<Bytes>>> {
        if let Some(sender) = self.outcome.take() {
            // The component dropped the outcome: it does not want to know.
            let _ = sender.send(outcome);
        }
        Poll::Ready(None)
    }

    /// At the end of the input: is that where it should be, and is it still the same file?
    fn verdict(&self) -> Result<(), Failure> {
        match self.end {
            Some(end) if self.offset < end => {
                Err(Failure::Io(format!("the input ended after {} bytes, expected {end}", self.offset)))
            }
            _ => match &self.reader {
                Reader::File(file) => file.unchanged(),
                Reader::Standard => Ok(()),
            },
        }
    }
}

impl Chunks for LocalBytes {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.outcome.is_none() {
            return Poll::Ready(None);
        }
        let left = self.end.map_or(u64::MAX, |end| end.saturating_sub(self.offset));
        if left == 0 {
            let verdict = self.verdict();
            return self.finish(verdict);
        }
        let (reader, offset) = (&self.reader, self.offset);
        let job = self.job.get_or_insert_with(|| {
            let reader = reader.clone();
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(READ_BYTES);
            spawn_blocking(move || reader.read(offset, most))
        });
        if job.is_finished() {
            self.helping = None;
        } else {
            let pulse = &self.pulse;
            self.helping.get_or_insert_with(|| pulse.helping());
        }
        let read = ready!(Pin::new(job).poll(cx));
        (self.job, self.helping) = (None, None);
        match read {
            Ok(Ok(bytes)) if bytes.is_empty() => {
                let verdict = self.verdict();
                self.finish(verdict)
            }
            Ok(Ok(bytes)) => {
                self.offset = self.offset.saturating_add(bytes.len() as u64);
                Poll::Ready(Some(Ok(bytes)))
            }
            Ok(Err(why)) => self.finish(Err(Failure::Io(format!("reading failed at {}: {why}", self.offset)))),
            Err(why) => self.finish(Err(Failure::Other(format!("the reading job ended: {why}")))),
        }
    }
}

impl Reader {
    fn read(&self, offset: u64, most: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; most];
        loop {
            let read = match self {
                Self::File(file) => file.file.read_at(&mut bytes, offset),
                Self::Standard => io::stdin().read(&mut bytes),
            };
            match read {
                Ok(read) => {
                    bytes.truncate(read);
                    return Ok(bytes.into());
                }
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
    }
}

impl FileReader {
    fn unchanged(&self) -> Result<(), Failure> {
        let now = self.file.metadata().map(|metadata| revision(&metadata));
        match now {
            Ok(now) if now == self.revision => Ok(()),
            Ok(_) => Err(Failure::Changed(format!("`{}` was written to while it was read", self.path.display()))),
            Err(why) => Err(Failure::Io(format!("`{}` cannot be looked at: {why}", self.path.display()))),
        }
    }
}

impl local::Host for StoreState<SourceState> {
    fn size(&mut self) -> wasmtime::Result<Option<u64>> {
        Ok(self.stage.grant.local.as_ref().and_then(|local| local.size))
    }

    fn revision(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.stage.grant.local.as_ref().and_then(LocalGrant::revision))
    }
}

impl local::HostWithStore<StoreState<SourceState>> for SourceView {
    fn open(
        mut host: Access<StoreState<SourceState>, Self>,
        offset: u64,
        length: Option<u64>,
    ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<Result<(), Failure>>)> {
        let state = host.get();
        let (sender, outcome) = oneshot::channel();
        let opened = match &state.stage.grant.local {
            Some(local) => local.open(offset, length, &state.pulse, sender),
            None => Err((Failure::Denied("no file was granted to this component".to_owned()), sender)),
        };
        let stream = match opened {
            Ok(bytes) => HostStream::new(bytes),
            Err((failure, sender)) => {
                let _ = sender.send(Err(failure));
                HostStream::new(Nothing)
            }
        };
        let stream = StreamReader::new(&mut host, stream)?;
        let gone = || Failure::Other("the read was given up".to_owned());
        let outcome = host_future(&mut host, async move { outcome.await.unwrap_or_else(|_| Err(gone())) })?;
        Ok((stream, outcome))
    }
}
