//! What the spool gives out: from memory while it is there, else from the file, and what has not come yet is waited for.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Spooled, failed};
use crate::error::{Error, Result, Stage};
use crate::observe::{Waiting, WaitsFor};
use crate::stream::Chunks;

/// How much is read back at once.
const READ_BYTES: u64 = 256 * 1024;

/// Bytes that are given out.
pub(super) struct Back {
    of: Spooled,
    at: u64,
    /// Where to stop; none: at the end of the disk.
    end: Option<u64>,
    job: Option<JoinHandle<io::Result<Bytes>>>,
    waiting: Waiting,
}

impl Back {
    /// From `at` on, to `end` if there is one.
    pub(super) const fn new(of: Spooled, at: u64, end: Option<u64>) -> Self {
        Self { of, at, end, job: None, waiting: Waiting::new(WaitsFor::Spool) }
    }
}

impl Chunks for Back {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Some(job) = &mut self.job {
            let polled = Pin::new(job).poll(cx);
            self.waiting.set(polled.is_pending());
            let read = ready!(polled).unwrap_or_else(|why| Err(io::Error::other(why)));
            self.job = None;
            let read = read.map_err(|why| failed(&self.of.state.shown, "cannot be read back", why));
            return Poll::Ready(Some(read.inspect(|bytes| self.at = self.at.saturating_add(bytes.len() as u64))));
        }
        let left = self.end.map_or(u64::MAX, |end| end.saturating_sub(self.at));
        if left == 0 {
            return Poll::Ready(None);
        }
        let length = {
            let mut taken = self.of.state.lock();
            if let Some(Err(error)) = &taken.end {
                return Poll::Ready(Some(Err(error.retold())));
            }
            if let Some(mut chunk) = taken.in_window(self.at) {
                chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                self.at = self.at.saturating_add(chunk.len() as u64);
                return Poll::Ready(Some(Ok(chunk)));
            }
            match taken.written.saturating_sub(self.at) {
                0 if taken.end.is_none() => {
                    taken.wait(cx);
                    return Poll::Pending;
                }
                0 if self.end.is_none() => return Poll::Ready(None),
                0 => {
                    let message = format!("the spool has {} bytes, asked for was more", taken.received);
                    return Poll::Ready(Some(Err(Error::internal(Stage::Upload, message))));
                }
                there => there.min(left).min(READ_BYTES),
            }
        };
        let (file, at) = (Arc::clone(&self.of.state.file), self.at);
        self.job = Some(spawn_blocking(move || {
            let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
            file.read_exact_at(&mut bytes, at)?;
            Ok(bytes.into())
        }));
        self.poll_chunk(cx)
    }
}
