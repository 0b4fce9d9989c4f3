//! SHA-256 of what flows, each byte once, while it is in the cache.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::algorithm::restored;
use super::marks::Marks;
use super::{Chunks, Flow};
use crate::error::{Code, Error, Result, Stage};
use crate::observe::Meter;
use crate::oci::Digest;

/// Hashes a flow as it passes; `meter` has what that costs.
#[must_use]
pub fn hashed(flow: Flow, meter: Arc<Meter>) -> (Flow, DigestHandle) {
    hashing(flow, meter, Sha256::new(), 0, None)
}

/// The same, leaving `marks`, for a flow that begins at the offset `from` of what is hashed.
///
/// The flow fails as soon as what it brings contradicts a mark.
///
/// # Errors
/// `internal` if `from` is not 0 and there is no mark.
pub fn hashed_from(flow: Flow, meter: Arc<Meter>, marks: Marks, from: u64) -> Result<(Flow, DigestHandle)> {
    let hash = match from {
        0 => Some(Sha256::new()),
        from => marks.at(from).and_then(|midstate| restored(&midstate)),
    };
    let hash = hash.ok_or_else(|| Error::internal(Stage::Upload, "the layer has no mark where its flow begins"))?;
    Ok(hashing(flow, meter, hash, from, Some(marks)))
}

fn hashing(flow: Flow, meter: Arc<Meter>, hash: Sha256, bytes: u64, marks: Option<Marks>) -> (Flow, DigestHandle) {
    let result = Arc::new(Mutex::new(None));
    let step = Hashed { flow, meter, hash, bytes, marks, result: Arc::clone(&result) };
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
    marks: Option<Marks>,
    result: Arc<Mutex<Option<(Digest, u64)>>>,
}

impl Chunks for Hashed {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let next = self.flow.poll_next(cx);
        match &next {
            Poll::Ready(Some(Ok(chunk))) => {
                self.meter.working(|| match &self.marks {
                    Some(marks) => marks.pass(&mut self.hash, self.bytes, chunk),
                    None => self.hash.update(chunk),
                });
                self.meter.passed(chunk.len());
                self.bytes += chunk.len() as u64;
                if let Some(at) = self.marks.as_ref().and_then(Marks::contradicted) {
                    return Poll::Ready(Some(Err(contradicted(at))));
                }
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

fn contradicted(at: u64) -> Error {
    let message = format!("the layer has other bytes in front of {at} than those that were sent before");
    Error::new(Code::SourceChanged, Stage::Upload, message)
}

#[cfg(test)]
mod tests {
    use super::super::flow::tests::{collect, flow};
    use super::super::marks::MARK_EVERY;
    use super::*;

    #[tokio::test]
    async fn the_digest_is_there_at_the_end_and_not_before() {
        let (flow, handle) = hashed(flow(&[b"he", b"llo"]), Arc::default());
        assert!(handle.get().is_none());
        collect(flow).await.unwrap();
        assert_eq!(handle.get(), Some((Digest::of(b"hello"), 5)));
    }

    #[tokio::test]
    async fn it_goes_on_from_a_mark_and_fails_where_bytes_are_others() {
        let mut bytes = vec![7; usize::try_from(2 * MARK_EVERY + 3).unwrap()];
        let marks = Marks::default();
        let (all, handle) = hashed_from(flow(&[&bytes]), Arc::default(), marks.clone(), 0).unwrap();
        collect(all).await.unwrap();
        let whole = handle.get();
        assert_eq!(whole, Some((Digest::of(&bytes), bytes.len() as u64)));
        let from = usize::try_from(MARK_EVERY).unwrap();
        let (rest, handle) = hashed_from(flow(&[&bytes[from..]]), Arc::default(), marks.clone(), MARK_EVERY).unwrap();
        collect(rest).await.unwrap();
        assert_eq!(handle.get(), whole);
        assert!(hashed_from(flow(&[]), Arc::default(), marks.clone(), 5).is_err(), "there is no mark");
        bytes[5] = 8;
        let (other, handle) = hashed_from(flow(&[&bytes]), Arc::default(), marks, 0).unwrap();
        assert_eq!(collect(other).await.unwrap_err().code(), Code::SourceChanged);
        assert_eq!(handle.get(), None);
    }
}
