//! Bytes that have flowed already, once more.

use std::sync::Arc;

use super::{Layer, Ranges, Reading, limited};

/// What flowed past can be had again: from memory or a spool if it is still there, else from a source with ranges, framed
/// anew. Whoever sends the layer asks for it when a receiver has less than was sent.
pub trait Replay: Send + Sync + 'static {
    /// The bytes from `offset` on, counted from the flow's start, as they flowed: the reading gives a flow that ends where
    /// the original will end, or at any later point than the original has reached so far. `None` if those bytes cannot be
    /// had: nothing may be guessed in their place.
    ///
    /// The original goes on unharmed: nobody rewinds it, its hashes stay as they are, and the reading may be dropped at
    /// any point. At most one reading is used at a time.
    ///
    /// # Errors
    /// Of the reading: whatever keeps the source from being read, `source-changed` if it is another than before.
    fn from(&self, offset: u64) -> Option<Reading>;
}

/// A layer around a disk with ranges: framed anew from any offset.
#[derive(Clone)]
pub struct Reframed {
    layer: Layer,
    disk: Arc<dyn Ranges>,
    limit: Option<u64>,
}

impl Reframed {
    /// `layer` around `disk`, which is what flows as its payload. What is read again has at most `limit` bytes per second.
    #[must_use]
    pub const fn new(layer: Layer, disk: Arc<dyn Ranges>, limit: Option<u64>) -> Self {
        Self { layer, disk, limit }
    }
}

impl Replay for Reframed {
    fn from(&self, offset: u64) -> Option<Reading> {
        let rest = self.layer.from(offset)?;
        let (disk, limit) = (Arc::clone(&self.disk), self.limit);
        Some(Box::pin(async move {
            let payload = match rest.payload_bytes() {
                0 => None,
                bytes => Some(disk.read(rest.payload_from(), bytes).await?),
            };
            let slowed = |flow| match limit {
                Some(limit) => limited(flow, limit),
                None => flow,
            };
            Ok(rest.framed(payload.map(slowed)))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::tests::{collect, flow};
    use super::super::{Segment, framed};
    use super::*;

    struct Disk(Vec<u8>);

    impl Ranges for Disk {
        fn read(&self, offset: u64, length: u64) -> Reading {
            let from = usize::try_from(offset).unwrap();
            let bytes = self.0[from..from + usize::try_from(length).unwrap()].to_vec();
            Box::pin(async move { Ok(flow(&bytes.chunks(7).collect::<Vec<_>>())) })
        }
    }

    #[tokio::test]
    async fn every_offset_gives_the_same_bytes() {
        let disk: Vec<u8> = (0..100).collect();
        let segments = vec![
            Segment::Literal(b"head".as_slice().into()),
            Segment::Zeros(5),
            Segment::Payload,
            Segment::Zeros(3),
            Segment::Literal(b"tail".as_slice().into()),
        ];
        let layer = Layer::new(segments, 100).unwrap();
        let whole = collect(framed(&layer, flow(&[&disk]))).await.unwrap();
        let replay = Reframed::new(layer.clone(), Arc::new(Disk(disk)), None);
        for offset in 0..=whole.len() {
            let reading = Replay::from(&replay, offset as u64).expect("a reading");
            let bytes = collect(reading.await.unwrap()).await.unwrap();
            assert_eq!(bytes, whole[offset..], "{offset}");
        }
        assert!(Replay::from(&replay, whole.len() as u64 + 1).is_none());
    }
}
