//! The pieces and their outputs, between the flow and the threads that work on them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};

use super::{Chunks, Flow, PIECE_BYTES};
use crate::error::{Error, Result, Stage};

/// Bytes of one piece's output that may stand before its worker must wait until it is that piece's turn. One chunk more may
/// stand there.
pub(super) const OUTPUT_BYTES: usize = PIECE_BYTES;
/// Outputs stand in blocks of this size, however small the chunks are in which they come.
const BLOCK_BYTES: usize = 64 * 1024;

/// Where workers get their pieces.
#[derive(Clone, Default)]
pub struct Work(Arc<Shared>);

/// A piece and where its output goes.
pub struct Piece {
    /// Its bytes, as a flow that ends well.
    pub input: Flow,
    /// What becomes of it.
    pub output: PieceOutput,
}

/// Where one piece's output goes. Dropped without an end, it fails the flow.
pub struct PieceOutput {
    shared: Arc<Shared>,
    number: u64,
    done: bool,
}

/// Nobody wants the output any more.
#[derive(Debug, PartialEq, Eq)]
pub struct GivenUp;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// Pieces that no worker has taken yet, with their numbers.
    waiting: VecDeque<(u64, Bytes)>,
    /// Outputs of all pieces that were cut and not passed on yet.
    outputs: VecDeque<Output>,
    /// The number of the first of them.
    first: u64,
    failed: Option<Error>,
    /// There will be no more pieces.
    closed: bool,
    /// Nobody wants an output.
    given_up: bool,
    flow: Option<Waker>,
}

#[derive(Default)]
struct Output {
    blocks: VecDeque<Bytes>,
    filling: BytesMut,
    queued: usize,
    ended: bool,
    worker: Option<Waker>,
}

impl Work {
    /// The next piece, waited for; none when there will be no more, or nobody wants their outputs.
    #[must_use]
    pub fn next(&self) -> Option<Piece> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let mut state = self.0.work.wait_while(self.0.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let (number, bytes) = state.waiting.pop_front()?;
        let output = PieceOutput { shared: Arc::clone(&self.0), number, done: false };
        Some(Piece { input: Flow::through(Whole(bytes)), output })
    }

    /// Pieces that were handed out and not passed on yet.
    pub(super) fn held(&self) -> usize {
        self.0.lock().outputs.len()
    }

    /// The next piece, for whichever worker is free first.
    pub(super) fn hand_out(&self, piece: Bytes) {
        let mut state = self.0.lock();
        let number = state.first.saturating_add(state.outputs.len() as u64);
        state.waiting.push_back((number, piece));
        state.outputs.push_back(Output::default());
        self.0.work.notify_one();
    }

    /// There will be no more pieces.
    pub(super) fn close(&self) {
        self.0.lock().closed = true;
        self.0.work.notify_all();
    }

    /// Nobody wants an output any more.
    pub(super) fn give_up(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.given_up = true;
        state.waiting.clear();
        // No number is among the outputs from now on.
        for worker in state.outputs.drain(..).filter_map(|output| output.worker) {
            worker.wake();
        }
        self.0.work.notify_all();
    }

    /// What comes out next, none once all was passed on of what was handed out before [`Self::close`]; and whether an
    /// output was passed on whole meanwhile, which makes room.
    pub(super) fn put_out(&self, cx: &mut Context<'_>) -> (Poll<Option<Result<Bytes>>>, bool) {
        let mut state = self.0.lock();
        let mut room = false;
        if let Some(error) = state.failed.take() {
            return (Poll::Ready(Some(Err(error))), room);
        }
        while let Some(output) = state.outputs.front_mut() {
            if let Some(block) = output.blocks.pop_front() {
                output.queued = output.queued.saturating_sub(block.len());
                if let Some(worker) = output.worker.take() {
                    worker.wake();
                }
                return (Poll::Ready(Some(Ok(block))), room);
            }
            if !output.ended {
                break;
            }
            state.outputs.pop_front();
            state.first += 1;
            room = true;
        }
        if state.closed && state.outputs.is_empty() {
            return (Poll::Ready(None), room);
        }
        state.flow = Some(cx.waker().clone());
        (Poll::Pending, room)
    }
}

impl PieceOutput {
    /// Waits until there is room for a chunk.
    ///
    /// # Errors
    /// `GivenUp` if nobody wants it any more.
    pub async fn ready(&self) -> Result<(), GivenUp> {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            let Some(output) = state.output(self.number) else { return Poll::Ready(Err(GivenUp)) };
            if output.queued < OUTPUT_BYTES {
                return Poll::Ready(Ok(()));
            }
            output.worker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Resolves when nobody wants the output any more. To be waited for in the same task as [`Self::ready`].
    pub async fn given_up(&self) {
        poll_fn(|cx| match self.shared.lock().output(self.number) {
            Some(output) => {
                output.worker = Some(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        })
        .await;
    }

    /// Takes a chunk, for which [`Self::ready`] found room.
    pub fn push(&self, chunk: &[u8]) {
        let mut state = self.shared.lock();
        let Some(output) = state.output(self.number) else { return };
        output.queued += chunk.len();
        let mut rest = chunk;
        while !rest.is_empty() {
            if output.filling.capacity() == 0 {
                output.filling.reserve(BLOCK_BYTES);
            }
            let (now, later) = rest.split_at(rest.len().min(BLOCK_BYTES - output.filling.len()));
            output.filling.extend_from_slice(now);
            rest = later;
            if output.filling.len() == BLOCK_BYTES {
                output.blocks.push_back(std::mem::take(&mut output.filling).freeze());
            }
        }
        if self.number == state.first {
            state.wake();
        }
    }

    /// The output is whole.
    pub fn end(mut self) {
        self.done = true;
        let mut state = self.shared.lock();
        let Some(output) = state.output(self.number) else { return };
        output.ended = true;
        output.worker = None;
        if !output.filling.is_empty() {
            let last = std::mem::take(&mut output.filling).freeze();
            output.blocks.push_back(last);
        }
        if self.number == state.first {
            state.wake();
        }
    }

    /// The piece cannot be worked on.
    pub fn fail(mut self, error: Error) {
        self.done = true;
        self.shared.lock().fail(error);
    }
}

impl Drop for PieceOutput {
    fn drop(&mut self) {
        if !self.done {
            let error = Error::internal(Stage::Compressor, "a thread that works on the layer is gone");
            self.shared.lock().fail(error);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The output of that piece; none if nobody wants it.
    fn output(&mut self, number: u64) -> Option<&mut Output> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.outputs.get_mut(at)
    }

    fn fail(&mut self, error: Error) {
        if self.failed.is_none() && !self.given_up {
            self.failed = Some(error);
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(flow) = self.flow.take() {
            flow.wake();
        }
    }
}

/// A piece's bytes.
struct Whole(Bytes);

impl Chunks for Whole {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready(Some(bytes).filter(|bytes| !bytes.is_empty()).map(Ok))
    }
}
