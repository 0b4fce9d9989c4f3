//! SHA-256 of what flows, each byte once, while it is in the cache.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{Chunks, Flow};
use crate::error::Result;
use crate::observe::Meter;
use crate::oci::Digest;

/// Hashes a flow as it passes; `meter` has what that costs.
#[must_use]
pub fn hashed(flow: Flow, meter: Arc<Meter>) -> (Flow, DigestHandle) {
    let result = Arc::new(Mutex::new(None));
    let step = Hashed { flow, meter, hash: Sha256::new(), bytes: 0, result: Arc::clone(&result) };
    (Flow::through(step), DigestHandle(result))
}

/// The digest of a flow, once it has ended well.
pub struct DigestHandle(Arc<Mutex<Option<(Digest, u64)>>>);

impl DigestHandle {
    /// Digest and number of bytes; none before the flow's successful end.
    #[must_use]
    pub fn get(&self) -> Option<(Digest, u64)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Hashed {
    flow: Flow,
    meter: Arc<Meter>,
    hash: Sha256,
    bytes: u64,
    result: Arc<Mutex<Option<(Digest, u64)>>>,
}

impl Chunks for Hashed {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let next = self.flow.poll_next(cx);
        match &next {
            Poll::Ready(Some(Ok(chunk))) => {
                self.meter.working(|| self.hash.update(chunk));
                self.meter.passed(chunk.len());
                self.bytes += chunk.len() as u64;
            }
            Poll::Ready(None) => {
                let digest = Digest::from_hash(self.hash.finalize_reset().into());
                *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some((digest, self.bytes));
            }
            _ => {}
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::tests::{collect, flow};
    use super::*;

    #[tokio::test]
    async fn the_digest_is_there_at_the_end_and_not_before() {
        let (flow, handle) = hashed(flow(&[b"he", b"llo"]), Arc::default());
        assert!(handle.get().is_none());
        collect(flow).await.unwrap();
        assert_eq!(handle.get(), Some((Digest::of(b"hello"), 5)));
    }
}
