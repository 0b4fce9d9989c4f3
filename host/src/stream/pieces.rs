//! A flow cut into pieces that several threads work on at the same time, and put together again in their order.
//!
//! Where it is cut depends on the bytes alone, never on how many threads there are or how the flow came in chunks.

mod work;

use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};

use super::{Chunks, Flow};
use crate::error::Result;
use crate::observe::{Waiting, WaitsFor};
pub use work::{GivenUp, Piece, PieceOutput, Work};

/// Bytes of a piece; only the last one has fewer. Another figure gives other outputs.
pub const PIECE_BYTES: usize = 1 << 20;
/// Bytes that are taken in at once before others on the thread get their turn.
const TAKE_BYTES: usize = 256 * 1024;

/// Cuts `flow` into pieces, of which at most `at_once` are held: being gathered, waiting for a worker, worked on, or done and
/// waiting for their turn. Each takes up to two pieces' worth of memory and one block.
///
/// The flow that comes out is what the workers make of the pieces, one behind the other. Its failure is that of `flow`, else
/// the first that any worker reports. A flow without a byte is one empty piece.
#[must_use]
pub fn in_pieces(flow: Flow, at_once: usize) -> (Flow, Work) {
    let work = Work::default();
    let pieces = Pieces {
        flow,
        ended: false,
        left: Bytes::new(),
        gathered: BytesMut::new(),
        cut: false,
        at_once: at_once.max(1),
        work: work.clone(),
        waiting: Waiting::new(WaitsFor::Compressor),
    };
    (Flow::through(pieces), work)
}

struct Pieces {
    flow: Flow,
    ended: bool,
    /// What is left of a chunk behind the end of a piece.
    left: Bytes,
    gathered: BytesMut,
    /// Whether a piece was cut.
    cut: bool,
    at_once: usize,
    work: Work,
    waiting: Waiting,
}

impl Pieces {
    /// Takes input in as far as there is any and there is room. Says whether it stopped only to give others their turn.
    fn take_in(&mut self, cx: &mut Context<'_>) -> Result<bool> {
        let mut taken = 0;
        while !self.ended && self.work.held() < self.at_once {
            if self.left.is_empty() {
                if taken >= TAKE_BYTES {
                    return Ok(true);
                }
                match self.flow.poll_next(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(chunk)) => self.left = chunk?,
                    Poll::Ready(None) => {
                        self.ended = true;
                        if !self.gathered.is_empty() || !self.cut {
                            self.cut();
                        }
                        self.work.close();
                        break;
                    }
                }
                taken += self.left.len();
            }
            if self.gathered.capacity() == 0 {
                self.gathered.reserve(PIECE_BYTES);
            }
            // Copied: the chunks of a flow may be small and many, or parts of something large.
            let now = self.left.len().min(PIECE_BYTES - self.gathered.len());
            self.gathered.extend_from_slice(self.left.get(..now).unwrap_or_default());
            self.left.advance(now);
            if self.gathered.len() == PIECE_BYTES {
                self.cut();
            }
        }
        Ok(false)
    }

    /// Hands what was gathered to whichever worker is free first.
    fn cut(&mut self) {
        self.work.hand_out(std::mem::take(&mut self.gathered).freeze());
        self.cut = true;
    }
}

impl Chunks for Pieces {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            let more = self.take_in(cx)?;
            let (next, room) = self.work.put_out(cx);
            if next.is_pending() && room && !more {
                continue;
            }
            if next.is_pending() && more {
                cx.waker().wake_by_ref();
            }
            // Where there is room, the input is what is missing.
            self.waiting.set(next.is_pending() && (self.ended || self.work.held() >= self.at_once));
            return next;
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.work.give_up();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread;

    use super::super::flow::tests::{Listed, collect};
    use super::super::outcome;
    use super::work::OUTPUT_BYTES;
    use super::*;
    use crate::error::{Code, Error, Stage};

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 3 % 251) as u8).collect()
    }

    fn chunked(bytes: &[u8], size: usize, end: Result<()>) -> Flow {
        let (setter, outcome) = outcome(Stage::Source, "test");
        setter.set(end);
        Flow::new(Listed(bytes.chunks(size).map(Bytes::copy_from_slice).collect::<VecDeque<_>>()), outcome, None)
    }

    /// Workers that write each piece's length in front of it, in small chunks.
    fn with_workers(work: &Work, count: usize) -> Vec<thread::JoinHandle<()>> {
        let worker = |work: Work| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            while let Some(Piece { input, output }) = work.next() {
                let bytes = runtime.block_on(collect(input)).unwrap();
                output.push(format!("<{}>", bytes.len()).as_bytes());
                let written = bytes.chunks(1000).try_for_each(|chunk| {
                    runtime.block_on(output.ready())?;
                    output.push(chunk);
                    Ok::<(), GivenUp>(())
                });
                if written.is_ok() {
                    output.end();
                }
            }
        };
        (0..count).map(|_| (work.clone(), worker)).map(|(work, worker)| thread::spawn(move || worker(work))).collect()
    }

    #[tokio::test]
    async fn pieces_are_put_together_in_order_whatever_the_number_of_workers_and_chunks() {
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES + 7] {
            let bytes = bytes(length);
            let mut pieces: Vec<&[u8]> = bytes.chunks(PIECE_BYTES).collect();
            if pieces.is_empty() {
                pieces.push(&[]);
            }
            let mut expected = Vec::new();
            for piece in pieces {
                expected.extend(format!("<{}>", piece.len()).bytes());
                expected.extend_from_slice(piece);
            }
            for (workers, chunk) in [(1, 100_003), (2, 4096), (3, 3 * PIECE_BYTES), (5, 70_000)] {
                let (flow, work) = in_pieces(chunked(&bytes, chunk, Ok(())), workers + 1);
                let threads = with_workers(&work, workers);
                assert!(collect(flow).await.unwrap() == expected, "{length} bytes, {workers} workers");
                threads.into_iter().for_each(|thread| thread.join().unwrap());
            }
        }
    }

    /// A flow without end that counts what is taken of it.
    struct Endless(Arc<AtomicUsize>);

    impl Chunks for Endless {
        fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
            self.0.fetch_add(1000, SeqCst);
            Poll::Ready(Some(Ok(Bytes::from_static(&[7; 1000]))))
        }
    }

    #[tokio::test]
    async fn no_more_is_taken_in_than_may_be_held_and_no_more_is_put_out_before_its_turn() {
        let taken = Arc::new(AtomicUsize::new(0));
        let (mut flow, work) = in_pieces(Flow::through(Endless(Arc::clone(&taken))), 3);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for _ in 0..1000 {
            assert!(flow.poll_next(&mut cx).is_pending(), "nobody works");
        }
        let held = taken.load(SeqCst);
        assert!((3 * PIECE_BYTES..=3 * PIECE_BYTES + 1000).contains(&held), "{held}");
        let (first, second) = (work.next().unwrap(), work.next().unwrap());
        let mut pushed = 0;
        while let Poll::Ready(ready) = Box::pin(second.output.ready()).as_mut().poll(&mut cx) {
            ready.unwrap();
            second.output.push(&[2; 5000]);
            pushed += 5000;
        }
        assert!((OUTPUT_BYTES..=OUTPUT_BYTES + 5000).contains(&pushed), "{pushed}");
        assert!(flow.poll_next(&mut cx).is_pending(), "it is not its turn");
        first.output.push(b"1");
        first.output.end();
        assert_eq!(flow.next().await.unwrap().unwrap(), "1");
        assert!(flow.next().await.unwrap().unwrap().iter().all(|byte| *byte == 2));
        assert!(Box::pin(second.output.ready()).as_mut().poll(&mut cx).is_ready(), "there is room again");
    }

    #[tokio::test]
    async fn a_failure_ends_the_flow_at_once_and_that_of_the_input_goes_before() {
        let whole = bytes(4 * PIECE_BYTES);
        let (mut flow, work) = in_pieces(chunked(&whole, 50_000, Ok(())), 4);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while work.held() < 4 {
            assert!(flow.poll_next(&mut cx).is_pending());
        }
        let (_first, second) = (work.next().unwrap(), work.next().unwrap());
        second.output.fail(Error::new(Code::ComponentTrapped, Stage::Compressor, "no"));
        assert_eq!(flow.next().await.unwrap_err().code(), Code::ComponentTrapped, "though the first goes on");

        let cut = Err(Error::new(Code::SourceTruncated, Stage::Source, "cut"));
        let (flow, work) = in_pieces(chunked(&whole, 50_000, cut), 4);
        let threads = with_workers(&work, 2);
        assert_eq!(collect(flow).await.unwrap_err().code(), Code::SourceTruncated);
        threads.into_iter().for_each(|thread| thread.join().unwrap());

        let (mut flow, work) = in_pieces(chunked(&whole, 50_000, Ok(())), 4);
        while work.held() < 4 {
            assert!(flow.poll_next(&mut cx).is_pending());
        }
        drop(work.next().unwrap().output);
        assert_eq!(flow.next().await.unwrap_err().code(), Code::Internal, "a worker that is gone");
    }

    #[tokio::test]
    async fn a_flow_that_is_dropped_lets_its_workers_go() {
        let (mut flow, work) = in_pieces(Flow::through(Endless(Arc::default())), 2);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while work.held() < 2 {
            assert!(flow.poll_next(&mut cx).is_pending());
        }
        let piece = work.next().unwrap();
        let waits = tokio::task::spawn(async move {
            piece.output.given_up().await;
            assert_eq!(piece.output.ready().await, Err(GivenUp));
        });
        let idle = work.clone();
        let next = thread::spawn(move || (idle.next().is_some(), idle.next().is_none()));
        tokio::task::yield_now().await;
        drop(flow);
        waits.await.unwrap();
        let (_, none) = next.join().unwrap();
        assert!(none);
        assert!(work.next().is_none());
    }
}
