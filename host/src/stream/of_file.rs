//! Part of a file on this machine, as a flow.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Chunks, Flow};
use crate::error::{Error, Result};
use crate::observe::{Waiting, WaitsFor};

/// How much is read at once.
const READ_BYTES: u64 = 256 * 1024;

/// Opens a file for reading. Whatever else stands there is not waited for.
///
/// # Errors
/// If it cannot be opened, or is no file.
pub fn regular_file(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no file")),
    }
}

/// `length` bytes of a file from `offset` on. `failed` makes an error of what reading them came to, a file that is shorter too.
#[must_use]
pub fn of_file(
    file: Arc<File>,
    offset: u64,
    length: u64,
    failed: impl Fn(io::Error) -> Error + Send + 'static,
) -> Flow {
    let end = offset.saturating_add(length);
    let waiting = Waiting::new(WaitsFor::DiskReads);
    Flow::through(Read { file, at: offset, end, job: None, waiting, failed })
}

struct Read<F> {
    file: Arc<File>,
    at: u64,
    end: u64,
    job: Option<JoinHandle<io::Result<Bytes>>>,
    waiting: Waiting,
    failed: F,
}

impl<F: Fn(io::Error) -> Error + Send + 'static> Chunks for Read<F> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let length = self.end.saturating_sub(self.at).min(READ_BYTES);
        if length == 0 {
            return Poll::Ready(None);
        }
        let (file, at) = (&self.file, self.at);
        let job = self.job.get_or_insert_with(|| {
            let file = Arc::clone(file);
            spawn_blocking(move || {
                let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
                file.read_exact_at(&mut bytes, at)?;
                Ok(bytes.into())
            })
        });
        let polled = Pin::new(job).poll(cx);
        self.waiting.set(polled.is_pending());
        let read = ready!(polled).unwrap_or_else(|why| Err(io::Error::other(why)));
        self.job = None;
        self.at = self.at.saturating_add(length);
        Poll::Ready(Some(read.map_err(&self.failed)))
    }
}

/// One flow, and then another.
#[must_use]
pub fn chained(first: Flow, then: Flow) -> Flow {
    Flow::through(Chained { first: Some(first), then })
}

struct Chained {
    first: Option<Flow>,
    then: Flow,
}

impl Chunks for Chained {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Some(first) = &mut self.first {
            match ready!(first.poll_next(cx)) {
                None => self.first = None,
                more => return Poll::Ready(more),
            }
        }
        self.then.poll_next(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::error::{Code, Stage};
    use crate::stream::flow::tests::{collect, flow};

    fn failed(why: io::Error) -> Error {
        Error::new(Code::LocalFile, Stage::Source, why.to_string())
    }

    #[tokio::test]
    async fn a_part_of_a_file_flows_and_then_something_else() {
        let path = Path::new("/tmp").join(format!("longshore-of-file-{}", std::process::id()));
        let bytes: Vec<u8> = (0..600_000_u32).map(|at| (at % 251) as u8).collect();
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        let part = |offset, length| of_file(Arc::clone(&file), offset, length, failed);
        assert!(collect(part(0, 600_000)).await.unwrap() == bytes);
        assert!(collect(part(7, 300_000)).await.unwrap() == bytes[7..300_007]);
        assert!(collect(part(600_000, 0)).await.unwrap().is_empty());
        assert_eq!(collect(part(599_999, 2)).await.unwrap_err().code(), Code::LocalFile, "shorter than it was");
        assert_eq!(collect(chained(part(3, 2), flow(&[b"xy"]))).await.unwrap(), [&bytes[3..5], b"xy"].concat());
        assert!(collect(chained(part(600_000, 1), flow(&[b"xy"]))).await.is_err());
    }
}
