//! What the host gives a guest: bytes that a guest may read, or hand back untouched and unseen.

use std::any::{Any, TypeId};
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use wasmtime::component::{Destination, FutureReader, Lift, Lower, StreamProducer, StreamResult};
use wasmtime::{AsContextMut, Result, StoreContextMut};

use crate::stream::Chunks;

/// Bytes of the host's own on their way through a guest. A guest that returns this stream as its own never touches a
/// byte: the host takes the `HostStream` itself back.
pub struct HostStream {
    chunks: Box<dyn Chunks>,
    left: Bytes,
}

impl HostStream {
    /// A stream of these bytes. What goes wrong belongs into the outcome beside the stream: for a guest, a chunk that fails
    /// is the end. The host that takes the stream back is told the error itself.
    pub fn new(chunks: impl Chunks) -> Self {
        Self { chunks: Box::new(chunks), left: Bytes::new() }
    }
}

impl Drop for HostStream {
    fn drop(&mut self) {
        if !self.left.is_empty() {
            self.chunks.left_over(std::mem::take(&mut self.left));
        }
    }
}

impl Chunks for HostStream {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<crate::error::Result<Bytes>>> {
        if self.left.is_empty() {
            return self.chunks.poll_chunk(cx);
        }
        Poll::Ready(Some(Ok(std::mem::take(&mut self.left))))
    }
}

impl<D: 'static> StreamProducer<D> for HostStream {
    type Item = u8;
    // Never used: a stream that is taken back would lose what stands in it.
    type Buffer = Bytes;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        destination: Destination<'a, u8, Bytes>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        if self.left.is_empty() {
            match self.chunks.poll_chunk(cx) {
                Poll::Ready(Some(Ok(chunk))) => self.left = chunk,
                Poll::Ready(None | Some(Err(_))) => return Poll::Ready(Ok(StreamResult::Dropped)),
                Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // A read of no bytes asks whether there are any: there are.
        if destination.remaining(store.as_context_mut()) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let capacity = self.left.len();
        let mut destination = destination.as_direct(store, capacity);
        let written = destination.write(&self.left)?;
        self.left.advance(written);
        Poll::Ready(Ok(StreamResult::Completed))
    }

    fn try_into(me: Pin<Box<Self>>, ty: TypeId) -> std::result::Result<Box<dyn Any>, Pin<Box<Self>>> {
        if ty != TypeId::of::<Self>() {
            return Err(me);
        }
        let me: Box<Self> = Pin::into_inner(me);
        Ok(me)
    }
}

/// A future of the host's own for a guest.
///
/// # Errors
/// If the guest holds too many handles.
pub fn host_future<T>(
    store: impl AsContextMut,
    value: impl Future<Output = T> + Send + 'static,
) -> Result<FutureReader<T>>
where
    T: Lower + Lift + Send + Sync + 'static,
{
    FutureReader::new(store, async move { Ok::<T, wasmtime::Error>(value.await) })
}
