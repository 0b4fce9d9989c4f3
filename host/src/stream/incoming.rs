//! Bytes that somebody outside brings while a flow takes them: a bounded pipe that ends well only where its bringer says so.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::pipe::{Closed, PipeReader, PipeWriter, pipe};
use super::{Chunks, Pulse};
use crate::error::{Code, Error, Result, Stage};

/// Makes both ends. What is between them is bounded by [`super::PIPE_BYTES`]; the ends may be in different threads.
#[must_use]
pub fn incoming() -> (Bringer, Incoming) {
    let (writer, reader) = pipe(Pulse::default());
    let finished = Arc::new(AtomicBool::new(false));
    (Bringer { writer, finished: Arc::clone(&finished) }, Incoming { reader, finished })
}

/// The end where bytes are brought. Dropped without [`Self::finish`], what was brought is not all of it.
pub struct Bringer {
    writer: PipeWriter,
    finished: Arc<AtomicBool>,
}

/// The end where they are taken. Dropped, nobody takes any more.
pub struct Incoming {
    reader: PipeReader,
    finished: Arc<AtomicBool>,
}

/// Nobody takes what is brought any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody takes what is brought any more")]
pub struct NobodyTakes;

impl Bringer {
    /// Waits until there is room for a chunk.
    ///
    /// # Errors
    /// [`NobodyTakes`].
    pub async fn ready(&self) -> Result<(), NobodyTakes> {
        poll_fn(|cx| self.writer.poll_ready(cx)).await.map_err(|Closed| NobodyTakes)
    }

    /// Brings a chunk, for which [`Self::ready`] made room.
    pub fn bring(&self, chunk: Bytes) {
        self.writer.push(chunk);
    }

    /// That was all of it.
    pub fn finish(self) {
        self.finished.store(true, Ordering::Release);
    }
}

impl Chunks for Incoming {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match ready!(self.reader.poll_chunk(cx)) {
            None if !self.finished.load(Ordering::Acquire) => {
                let message = "whoever sent the disk went away before its end";
                Poll::Ready(Some(Err(Error::new(Code::SourceTruncated, Stage::Source, message))))
            }
            other => Poll::Ready(other),
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incoming")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(incoming: &mut Incoming) -> Option<Result<Bytes>> {
        poll_fn(|cx| incoming.poll_chunk(cx)).await
    }

    #[tokio::test]
    async fn it_ends_well_only_if_that_is_said() {
        let (bringer, mut incoming) = incoming();
        bringer.ready().await.unwrap();
        bringer.bring(Bytes::from_static(b"abc"));
        bringer.finish();
        assert_eq!(next(&mut incoming).await.unwrap().unwrap(), "abc");
        assert!(next(&mut incoming).await.is_none());

        let (bringer, mut incoming) = super::incoming();
        bringer.bring(Bytes::from_static(b"abc"));
        drop(bringer);
        assert_eq!(next(&mut incoming).await.unwrap().unwrap(), "abc");
        assert_eq!(next(&mut incoming).await.unwrap().unwrap_err().code(), Code::SourceTruncated);
    }

    #[tokio::test]
    async fn who_brings_learns_that_nobody_takes() {
        let (bringer, incoming) = incoming();
        drop(incoming);
        assert_eq!(bringer.ready().await, Err(NobodyTakes));
    }
}
