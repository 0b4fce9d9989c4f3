//! What a guest writes, taken out: bytes into a pipe, an outcome into a channel.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::oneshot;
use wasmtime::component::{Accessor, FutureConsumer, FutureReader, Source, StreamConsumer, StreamReader, StreamResult};
use wasmtime::{Result, StoreContextMut};

use super::state::StoreState;
use crate::bindings::Failure;
use crate::stream::{PIPE_BYTES, PipeWriter};

/// The most bytes that are taken out of a guest at once.
const MAX_TAKE: usize = PIPE_BYTES;

/// Lets a guest's bytes flow into a pipe. The receiver resolves when there will be no more, for whatever reason: a guest
/// that traps drops its stream too.
///
/// # Errors
/// If the stream is already closed.
pub fn bytes_into<S: Send>(
    accessor: &Accessor<StoreState<S>>,
    stream: StreamReader<u8>,
    pipe: PipeWriter,
) -> Result<oneshot::Receiver<()>> {
    let (ended, end) = oneshot::channel();
    let consumer = BytesConsumer { pipe, _ended: ended };
    accessor.with(|access| stream.pipe(access, consumer))?;
    Ok(end)
}

/// Hands a guest's outcome over. The receiver fails if the guest drops it without a value.
///
/// # Errors
/// If the future is already closed.
pub fn outcome_into<S: Send>(
    accessor: &Accessor<StoreState<S>>,
    outcome: FutureReader<std::result::Result<(), Failure>>,
) -> Result<oneshot::Receiver<std::result::Result<(), Failure>>> {
    let (sender, receiver) = oneshot::channel();
    accessor.with(|access| outcome.pipe(access, OutcomeConsumer(Some(sender))))?;
    Ok(receiver)
}

struct BytesConsumer {
    pipe: PipeWriter,
    /// Dropped with the consumer, which resolves the receiver.
    _ended: oneshot::Sender<()>,
}

impl<D: 'static> StreamConsumer<D> for BytesConsumer {
    type Item = u8;

    fn poll_consume(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        match self.pipe.poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
        }
        let mut source = source.as_direct(store);
        let available = source.remaining();
        let taken = Bytes::copy_from_slice(available.get(..MAX_TAKE).unwrap_or(available));
        source.mark_read(taken.len());
        self.pipe.push(taken);
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

struct OutcomeConsumer(Option<oneshot::Sender<std::result::Result<(), Failure>>>);

impl<D: 'static> FutureConsumer<D> for OutcomeConsumer {
    type Item = std::result::Result<(), Failure>;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        mut source: Source<'_, Self::Item>,
        _: bool,
    ) -> Poll<Result<()>> {
        let mut value = None;
        source.read(store, &mut value)?;
        let value = ready!(value.map_or(Poll::Pending, Poll::Ready));
        if let Some(sender) = self.0.take() {
            // Nobody listens any more: the run is over.
            let _ = sender.send(value);
        }
        Poll::Ready(Ok(()))
    }
}
