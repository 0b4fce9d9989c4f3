//! A blob of a repository as somebody reads it who copies it: from any offset, as often as it takes.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::sync::Mutex;

use super::pull::Pull;
use super::source::of_the_source;
use crate::error::{Result, Stage};
use crate::net::Body;
use crate::oci::Descriptor;
use crate::stream::{Chunks, Flow, Ranges, Reading, outcome};

/// A blob of SOURCE's repository. What is read is not verified: its digest is over all of it.
pub struct StoredBlob {
    pull: Arc<Mutex<Pull>>,
    blob: Descriptor,
}

impl StoredBlob {
    /// The blob that `pull` has by that digest.
    #[must_use]
    pub fn new(pull: Pull, blob: Descriptor) -> Self {
        Self { pull: Arc::new(Mutex::new(pull)), blob }
    }
}

impl Ranges for StoredBlob {
    fn read(&self, offset: u64, length: u64) -> Reading {
        let (pull, blob) = (Arc::clone(&self.pull), self.blob.clone());
        Box::pin(async move {
            let (body, in_front) = pull.lock().await.blob_part(&blob, offset, length).await.map_err(of_the_source)?;
            let (ended, outcome) = outcome(Stage::Source, "the registry");
            // A body ends well only with all its bytes.
            ended.set(Ok(()));
            let left = if in_front > 0 { length } else { u64::MAX };
            Ok(Flow::new(Part { body, in_front, left }, outcome, None))
        })
    }
}

struct Part {
    body: Body,
    /// Bytes that nobody asked for.
    in_front: u64,
    /// The most bytes that are given behind them.
    left: u64,
}

impl Chunks for Part {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        while self.left > 0 {
            let mut bytes = match ready!(self.body.poll_chunk(cx)) {
                Some(Ok(bytes)) => bytes,
                ended => return Poll::Ready(ended),
            };
            let in_front = most(self.in_front).min(bytes.len());
            bytes.advance(in_front);
            self.in_front = self.in_front.saturating_sub(in_front as u64);
            bytes.truncate(most(self.left));
            self.left = self.left.saturating_sub(bytes.len() as u64);
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
        Poll::Ready(None)
    }
}

fn most(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
