//! A bounded pipe between a producer that pushes and a flow that is pulled.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::{Chunks, Pulse};
use crate::error::Result;

/// Bytes a pipe holds before its writer must wait. One chunk more may stand in it: a writer that was let in pushes whole.
pub const PIPE_BYTES: usize = 256 * 1024;

/// Makes a pipe. The reader notes in `pulse` when it waits for the writer.
#[must_use]
pub fn pipe(pulse: Pulse) -> (PipeWriter, PipeReader) {
    let shared = Arc::new(Mutex::new(Shared::default()));
    (PipeWriter(Arc::clone(&shared)), PipeReader { shared, pulse })
}

/// The writing end. Dropping it ends the bytes.
pub struct PipeWriter(Arc<Mutex<Shared>>);

/// The reading end. Dropping it tells the writer to stop.
pub struct PipeReader {
    shared: Arc<Mutex<Shared>>,
    pulse: Pulse,
}

#[derive(Default)]
struct Shared {
    queue: VecDeque<Bytes>,
    queued: usize,
    writer_gone: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The reader is gone.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

impl PipeWriter {
    /// Ready when there is room for a chunk.
    ///
    /// # Errors
    /// `Closed` if nobody reads any more.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let mut shared = lock(&self.0);
        if shared.reader_gone {
            return Poll::Ready(Err(Closed));
        }
        if shared.queued < PIPE_BYTES {
            return Poll::Ready(Ok(()));
        }
        shared.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Pushes a chunk, for which [`Self::poll_ready`] made room.
    pub fn push(&self, chunk: Bytes) {
        let mut shared = lock(&self.0);
        if chunk.is_empty() || shared.reader_gone {
            return;
        }
        shared.queued += chunk.len();
        shared.queue.push_back(chunk);
        if let Some(waker) = shared.reader.take() {
            waker.wake();
        }
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        shared.writer_gone = true;
        if let Some(waker) = shared.reader.take() {
            waker.wake();
        }
    }
}

impl Chunks for PipeReader {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let mut shared = lock(&self.shared);
        if let Some(chunk) = shared.queue.pop_front() {
            shared.queued -= chunk.len();
            if let Some(waker) = shared.writer.take() {
                waker.wake();
            }
            self.pulse.delivered(chunk.len());
            return Poll::Ready(Some(Ok(chunk)));
        }
        if shared.writer_gone {
            self.pulse.settled();
            return Poll::Ready(None);
        }
        shared.reader = Some(cx.waker().clone());
        self.pulse.owes();
        Poll::Pending
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        // Nobody waits for the writer any more.
        self.pulse.settled();
        let mut shared = lock(&self.shared);
        shared.reader_gone = true;
        shared.queue.clear();
        if let Some(waker) = shared.writer.take() {
            waker.wake();
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn next(reader: &mut PipeReader) -> Option<Bytes> {
        poll_fn(|cx| reader.poll_chunk(cx)).await.transpose().unwrap()
    }

    #[tokio::test]
    async fn the_writer_waits_for_room_and_the_reader_for_bytes() {
        let (writer, mut reader) = pipe(Pulse::default());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(reader.poll_chunk(&mut cx).is_pending());
        writer.push(Bytes::from(vec![1; PIPE_BYTES]));
        assert!(writer.poll_ready(&mut cx).is_pending());
        assert_eq!(next(&mut reader).await.unwrap().len(), PIPE_BYTES);
        assert_eq!(writer.poll_ready(&mut cx), Poll::Ready(Ok(())));
        drop(writer);
        assert!(next(&mut reader).await.is_none());
    }

    #[tokio::test]
    async fn a_writer_without_a_reader_is_told() {
        let (writer, reader) = pipe(Pulse::default());
        drop(reader);
        assert_eq!(poll_fn(|cx| writer.poll_ready(cx)).await, Err(Closed));
    }
}
