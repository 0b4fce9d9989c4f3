//! A flow that stands in something whose digest is known, as a disk in a layer.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{Chunks, Flow};
use crate::error::{Error, Result};
use crate::observe::Meter;
use crate::oci::Digest;

/// What a flow stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enclosure {
    /// What stands in front of it.
    pub before: Bytes,
    /// What stands behind it.
    pub after: Bytes,
    /// The digest of all three in a row.
    pub digest: Digest,
}

/// Fails a flow at its end if what it stands in has another digest. `mismatch` is told the digest that it has, `meter` what
/// that costs.
#[must_use]
pub fn enclosed(
    flow: Flow,
    enclosure: Enclosure,
    meter: Arc<Meter>,
    mismatch: impl Fn(Digest) -> Error + Send + 'static,
) -> Flow {
    let mut hasher = Sha256::new();
    hasher.update(&enclosure.before);
    Flow::through(Enclosed { flow, hasher: Some(hasher), enclosure, meter, mismatch })
}

struct Enclosed<M> {
    flow: Flow,
    /// None once it was compared.
    hasher: Option<Sha256>,
    enclosure: Enclosure,
    meter: Arc<Meter>,
    mismatch: M,
}

impl<M: Fn(Digest) -> Error + Send + 'static> Chunks for Enclosed<M> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let next = ready!(self.flow.poll_next(cx));
        match (&next, self.hasher.take()) {
            (Some(Ok(chunk)), Some(mut hasher)) => {
                self.meter.working(|| hasher.update(chunk));
                self.hasher = Some(hasher);
            }
            (None, Some(mut hasher)) => {
                hasher.update(&self.enclosure.after);
                let got = Digest::from_hash(hasher.finalize().into());
                if got != self.enclosure.digest {
                    return Poll::Ready(Some(Err((self.mismatch)(got))));
                }
            }
            _ => {}
        }
        Poll::Ready(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, Stage};
    use crate::stream::flow::tests::{collect, flow};

    async fn end(disk: &[u8], digest: Digest) -> Result<Vec<u8>> {
        let enclosure = Enclosure { before: Bytes::from_static(b"ab"), after: Bytes::from_static(b"yz"), digest };
        let mismatch = |got: Digest| Error::new(Code::ChecksumMismatch, Stage::Source, got.to_string());
        let chunks: Vec<&[u8]> = disk.chunks(1).collect();
        collect(enclosed(flow(&chunks), enclosure, Arc::default(), mismatch)).await
    }

    #[tokio::test]
    async fn the_whole_has_the_digest_or_the_flow_fails_at_its_end() {
        let digest = Digest::of(b"abcdyz");
        assert_eq!(end(b"cd", digest).await.unwrap(), b"cd");
        for other in [&b"ce"[..], b"c", b"cdy", b""] {
            let error = end(other, digest).await.unwrap_err();
            assert_eq!(error.to_string(), Digest::of(&[&b"ab"[..], other, b"yz"].concat()).to_string());
        }
        assert_eq!(end(b"", Digest::of(b"abyz")).await.unwrap(), b"");
    }
}
