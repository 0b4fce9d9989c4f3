//! The window over a disk that can only be read in order: the flow advances as the probe asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::tail::Tail;
use super::{Answer, OUTSTANDING, WindowError};
use crate::error::Result;
use crate::stream::{Chunks, Flow, Helping};

/// Why nothing is said of what is not shown.
const NOT_SHOWN: WindowError = WindowError::Unsupported("only the beginning of the disk is shown");

/// Holds `flow` back. Without `tail`, its end is not waited for.
pub(super) fn gated(flow: Flow, tail: bool) -> (Flow, Arc<InOrder>) {
    let state = State { tail: Some(Tail::default()), tailless: !tail, ..State::default() };
    let view = Arc::new(InOrder(Mutex::new(state)));
    (Flow::through(Gate { flow, held: Bytes::new(), view: Arc::clone(&view) }), view)
}

/// The probe's side.
pub(super) struct InOrder(Mutex<State>);

#[derive(Default)]
struct State {
    /// Bytes that have passed.
    position: u64,
    /// Where requests end that were given up: the flow still advances to there, or it would tell when they were.
    owed: u64,
    ended: bool,
    broken: bool,
    released: bool,
    /// Whether nothing more is shown, and whether its end is known to lie behind that.
    cut: bool,
    tailless: bool,
    /// Whether something else than the tail was asked for that is not shown.
    too_short: bool,
    /// Whether there is a request whose answer was not taken yet.
    outstanding: bool,
    request: Option<Request>,
    /// The last bytes that passed, until the probe is done.
    tail: Option<Tail>,
    answered: u64,
    gate: Option<Waker>,
}

struct Request {
    wanted: Wanted,
    bytes: Vec<u8>,
    reply: oneshot::Sender<Result<Vec<u8>, WindowError>>,
    _helping: Helping,
}

#[derive(Clone, Copy)]
enum Wanted {
    /// Bytes that have not passed yet.
    Ahead { offset: u64, end: u64 },
    /// Bytes before the end of a request that was given up: gone, unless the disk ends before them.
    Behind { offset: u64, until: u64 },
    /// The last so many bytes.
    Tail(u32),
}

impl InOrder {
    pub(super) fn answered(&self) -> u64 {
        self.lock().answered
    }

    pub(super) fn failed(&self) -> bool {
        self.lock().broken
    }

    pub(super) fn read_at(self: &Arc<Self>, offset: u64, end: u64, helping: Helping) -> Result<Answer, WindowError> {
        let mut state = self.lock();
        let reached = state.ended || state.cut || state.position >= state.owed;
        let settled = match reached {
            _ if state.broken => Some(Err(WindowError::Io)),
            true if offset < state.position => Some(Err(WindowError::Gone)),
            true if state.ended => Some(Ok(Vec::new())),
            true if state.cut => Some(Err(NOT_SHOWN)),
            _ => None,
        };
        let wanted = match offset < state.owed && !reached {
            true => Wanted::Behind { offset, until: state.owed },
            false => Wanted::Ahead { offset, end },
        };
        self.begin(&mut state, wanted, settled, helping)
    }

    pub(super) fn read_tail(self: &Arc<Self>, len: u32, helping: Helping) -> Result<Answer, WindowError> {
        let mut state = self.lock();
        let settled = match &state.tail {
            _ if state.broken => Some(Err(WindowError::Io)),
            Some(tail) if state.ended => Some(Ok(tail.last(len))),
            _ if state.cut || state.tailless => Some(Err(NOT_SHOWN)),
            _ => None,
        };
        self.begin(&mut state, Wanted::Tail(len), settled, helping)
    }

    pub(super) fn release(&self) {
        let mut state = self.lock();
        (state.released, state.request, state.tail) = (true, None, None);
        state.wake();
    }

    pub(super) fn cut_off(&self) {
        let mut state = self.lock();
        state.cut = true;
        state.settle();
    }

    pub(super) fn was_too_short(&self) -> bool {
        self.lock().too_short
    }

    /// Takes a request on, or answers it at once.
    fn begin(
        self: &Arc<Self>,
        state: &mut State,
        wanted: Wanted,
        settled: Option<Result<Vec<u8>, WindowError>>,
        helping: Helping,
    ) -> Result<Answer, WindowError> {
        if state.outstanding {
            return Err(OUTSTANDING);
        }
        state.outstanding = true;
        let (reply, answer) = oneshot::channel();
        let request = Request { wanted, bytes: Vec::new(), reply, _helping: helping };
        match settled {
            Some(answer) => state.reply(request, answer),
            None => {
                state.request = Some(request);
                // Nothing may be left to wait for: an empty range where the flow stands.
                state.settle();
                state.wake();
            }
        }
        let outstanding = Outstanding(Arc::clone(self));
        Ok(Box::pin(async move {
            let answer = answer.await.unwrap_or(Err(WindowError::Io));
            drop(outstanding);
            answer
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request whose answer nobody took yet.
struct Outstanding(Arc<InOrder>);

impl Drop for Outstanding {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.outstanding = false;
        if let Some(request) = state.request.take() {
            state.owed = state.owed.max(request.wanted.end());
            state.wake();
        }
    }
}

impl Wanted {
    /// How far the flow must advance for it.
    const fn end(self) -> u64 {
        match self {
            Self::Ahead { end, .. } => end,
            Self::Behind { until, .. } => until,
            Self::Tail(_) => u64::MAX,
        }
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.gate.take() {
            waker.wake();
        }
    }

    /// How far the flow may advance.
    fn limit(&self) -> u64 {
        match &self.request {
            _ if self.released => u64::MAX,
            Some(request) => self.owed.max(request.wanted.end()),
            None => self.owed,
        }
    }

    fn advance(&mut self, chunk: &Bytes) {
        let start = self.position;
        self.position = self.position.saturating_add(chunk.len() as u64);
        if let Some(tail) = &mut self.tail {
            tail.push(chunk);
        }
        if let Some(Request { wanted: Wanted::Ahead { offset, .. }, bytes, .. }) = &mut self.request {
            let skip = usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX);
            bytes.extend_from_slice(chunk.get(skip..).unwrap_or_default());
        }
        self.settle();
    }

    /// Answers the request if the flow has come far enough.
    fn settle(&mut self) {
        let reached = |end: u64| self.ended || self.cut || self.position >= end;
        let settled = self.request.as_ref().is_some_and(|request| reached(request.wanted.end()));
        let Some(mut request) = self.request.take_if(|_| settled) else { return };
        let answer = match request.wanted {
            // An answer that is short, or none, would be the disk's end.
            Wanted::Ahead { end, .. } if !self.ended && self.position < end => Err(NOT_SHOWN),
            Wanted::Tail(_) if !self.ended => Err(NOT_SHOWN),
            Wanted::Ahead { .. } => Ok(std::mem::take(&mut request.bytes)),
            Wanted::Behind { offset, .. } if offset < self.position => Err(WindowError::Gone),
            Wanted::Behind { .. } if !self.ended => Err(NOT_SHOWN),
            Wanted::Behind { .. } => Ok(Vec::new()),
            Wanted::Tail(len) => Ok(self.tail.as_ref().map(|tail| tail.last(len)).unwrap_or_default()),
        };
        self.reply(request, answer);
    }

    fn reply(&mut self, request: Request, answer: Result<Vec<u8>, WindowError>) {
        let bytes = answer.as_ref().map_or(0, Vec::len);
        self.too_short |= answer == Err(NOT_SHOWN) && !matches!(request.wanted, Wanted::Tail(_));
        self.answered = self.answered.saturating_add(bytes as u64);
        // Nobody waits any more: the probe has given the request up.
        let _ = request.reply.send(answer);
    }
}

struct Gate {
    flow: Flow,
    /// What was pulled but may not pass yet.
    held: Bytes,
    view: Arc<InOrder>,
}

impl Chunks for Gate {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let allowed = {
            let mut state = self.view.lock();
            state.gate = Some(cx.waker().clone());
            state.limit().saturating_sub(state.position)
        };
        if allowed == 0 {
            return Poll::Pending;
        }
        if self.held.is_empty() {
            match self.flow.poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) => self.held = chunk,
                Poll::Ready(None) => {
                    let mut state = self.view.lock();
                    state.ended = true;
                    state.settle();
                    return Poll::Ready(None);
                }
                other => return other,
            }
        }
        let now = usize::try_from(allowed).unwrap_or(usize::MAX).min(self.held.len());
        let chunk = self.held.split_to(now);
        self.view.lock().advance(&chunk);
        Poll::Ready(Some(Ok(chunk)))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let mut state = self.view.lock();
        state.broken = !state.ended && !state.cut;
        state.request = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{disk, helping};
    use super::super::{MAX_WINDOW_READ, Seek, Window, windowed};
    use super::*;
    use crate::stream::flow::tests::{collect, flow};

    fn window_over(chunk: usize) -> (Flow, Window) {
        let disk = disk();
        let chunks: Vec<&[u8]> = disk.chunks(chunk).collect();
        windowed(flow(&chunks), Some(disk.len() as u64), Seek::InOrder)
    }

    #[tokio::test]
    async fn what_is_seen_does_not_depend_on_how_the_bytes_are_split() {
        for chunk in [1, 7, 512, 2999, 3000] {
            let (flow, window) = window_over(chunk);
            let pulled = tokio::spawn(collect(flow));
            let read = |offset, len| window.read_at(offset, len, helping());
            assert_eq!(read(0, 10).await.unwrap(), disk()[..10]);
            assert_eq!(read(10, 0).await.unwrap(), b"");
            assert_eq!(read(100, 600).await.unwrap(), disk()[100..700]);
            assert_eq!(read(2990, 100).await.unwrap(), disk()[2990..]);
            assert_eq!(read(5000, 100).await.unwrap(), b"");
            assert_eq!(read(3000, 1).await.unwrap(), b"");
            assert_eq!(read(2999, 1).await, Err(WindowError::Gone));
            window.release();
            assert_eq!(pulled.await.unwrap().unwrap(), disk());
            assert_eq!(window.answered(), 620);
        }
    }

    #[tokio::test]
    async fn a_piece_larger_than_what_is_asked_for_is_seen_as_smaller_ones_are() {
        const SIZE: usize = 3 << 20;
        let large: Vec<u8> = disk().into_iter().cycle().take(SIZE).collect();
        for chunk in [4093, 64 << 10, 1 << 20, SIZE] {
            let chunks: Vec<&[u8]> = large.chunks(chunk).collect();
            let (flow, window) = windowed(flow(&chunks), Some(SIZE as u64), Seek::InOrder);
            let pulled = tokio::spawn(collect(flow));
            let read = |offset, len| window.read_at(offset, len, helping());
            assert_eq!(read(0, 65_536).await.unwrap(), large[..65_536]);
            assert_eq!(read(65_535, 1).await, Err(WindowError::Gone));
            assert_eq!(read(1 << 20, MAX_WINDOW_READ).await.unwrap(), large[1 << 20..2 << 20]);
            assert_eq!(window.read_tail(4096, helping()).await.unwrap(), large[SIZE - 4096..]);
            window.release();
            assert_eq!(pulled.await.unwrap().unwrap(), large);
        }
    }

    #[tokio::test]
    async fn the_flow_advances_no_further_than_the_request() {
        let (mut flow, window) = window_over(3000);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(flow.poll_next(&mut cx).is_pending(), "nothing was asked for");
        let first = window.read_at(0, 10, helping());
        let Poll::Ready(Some(Ok(chunk))) = flow.poll_next(&mut cx) else { panic!() };
        assert_eq!(chunk.len(), 10);
        assert!(flow.poll_next(&mut cx).is_pending());
        assert_eq!(first.await.unwrap().len(), 10);
        window.release();
        let Poll::Ready(Some(Ok(chunk))) = flow.poll_next(&mut cx) else { panic!() };
        assert_eq!(chunk.len(), 2990);
    }

    #[tokio::test]
    async fn what_is_not_shown_is_refused_and_never_an_end() {
        // Shown are the first 1000 bytes of 3000.
        for chunk in [1, 7, 999, 1000] {
            let disk = disk();
            let chunks: Vec<&[u8]> = disk[..1000].chunks(chunk).collect();
            let (mut flow, window) = super::super::beginning_windowed(flow(&chunks), None, true);
            let cut = window.clone();
            let pulled = tokio::spawn(async move {
                let mut left = 1000_usize;
                while left > 0 {
                    left -= flow.next().await.unwrap().unwrap().len();
                }
                cut.cut_off();
                std::future::pending::<()>().await;
                drop(flow);
            });
            let read = |offset, len| window.read_at(offset, len, helping());
            assert!(window.is_partial() && !window.was_too_short());
            assert_eq!(read(0, 600).await.unwrap(), disk[..600]);
            assert_eq!(read(990, 20).await, Err(NOT_SHOWN));
            assert_eq!(read(1000, 1).await, Err(NOT_SHOWN));
            assert_eq!(read(5000, 1).await, Err(NOT_SHOWN));
            assert_eq!(read(999, 1).await, Err(WindowError::Gone));
            assert_eq!(window.read_tail(1, helping()).await, Err(NOT_SHOWN));
            assert!(window.was_too_short() && !window.failed());
            pulled.abort();
        }
    }

    #[tokio::test]
    async fn an_end_that_is_shown_is_one() {
        let (flow, window) = super::super::beginning_windowed(flow(&[&disk()]), None, true);
        let pulled = tokio::spawn(collect(flow));
        assert_eq!(window.read_at(2990, 100, helping()).await.unwrap(), disk()[2990..]);
        assert_eq!(window.read_tail(7, helping()).await.unwrap(), disk()[2993..]);
        assert_eq!(pulled.await.unwrap().unwrap(), disk());
        assert!(!window.was_too_short());
    }

    #[tokio::test]
    async fn an_end_that_cannot_come_is_not_waited_for() {
        let (mut flow, window) = super::super::beginning_windowed(flow(&[&disk()]), None, false);
        assert_eq!(window.read_tail(7, helping()).await, Err(NOT_SHOWN));
        assert!(flow.poll_next(&mut Context::from_waker(Waker::noop())).is_pending(), "nothing has flowed for it");
        assert!(!window.was_too_short());
    }

    #[tokio::test]
    async fn the_tail_lets_the_flow_run_and_is_kept() {
        for chunk in [1, 7, 2999, 3000] {
            let (flow, window) = window_over(chunk);
            let pulled = tokio::spawn(collect(flow));
            window.read_at(0, 2995, helping()).await.unwrap();
            let tail = |len| window.read_tail(len, helping());
            assert_eq!(tail(10).await.unwrap(), disk()[2990..], "part of it had passed before");
            assert_eq!(tail(MAX_WINDOW_READ).await.unwrap(), disk(), "the disk is smaller");
            assert_eq!(tail(0).await.unwrap(), b"");
            assert_eq!(window.read_at(2990, 1, helping()).await, Err(WindowError::Gone));
            assert_eq!(window.read_at(3000, 1, helping()).await.unwrap(), b"");
            window.release();
            assert_eq!(pulled.await.unwrap().unwrap(), disk());
        }
    }

    #[tokio::test]
    async fn a_request_is_outstanding_until_its_answer_is_taken() {
        let (flow, window) = window_over(100);
        let _pulled = tokio::spawn(collect(flow));
        let first = window.read_at(0, 1, helping());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        assert_eq!(window.read_at(1, 1, helping()).await, Err(OUTSTANDING), "although it was answered long ago");
        assert_eq!(window.read_tail(1, helping()).await, Err(OUTSTANDING));
        first.await.unwrap();
        window.read_at(1, 1, helping()).await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_moves_the_disk_all_the_same() {
        // Whether the flow moved before or after the request was dropped must not be seen.
        for moves_before in [true, false] {
            let (flow, window) = window_over(100);
            let given_up = window.read_at(500, 500, helping());
            let mut flow = Some(flow);
            let pull = |flow: &mut Option<Flow>| flow.take().map(|flow| tokio::spawn(collect(flow)));
            if moves_before {
                let _pulled = pull(&mut flow);
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            drop(given_up);
            let behind = window.read_at(999, 1, helping());
            let _pulled = pull(&mut flow);
            assert_eq!(behind.await, Err(WindowError::Gone), "{moves_before}");
            assert_eq!(window.read_at(1000, 1, helping()).await.unwrap(), disk()[1000..1001]);
            drop(window.read_tail(1, helping()));
            assert_eq!(window.read_at(2999, 1, helping()).await, Err(WindowError::Gone), "{moves_before}");
            assert_eq!(window.read_at(3000, 1, helping()).await.unwrap(), b"");
            assert_eq!(window.read_tail(1, helping()).await.unwrap(), disk()[2999..]);
        }
    }

    #[tokio::test]
    async fn whoever_helps_is_done_when_the_answer_is_there() {
        let (mut flow, window) = window_over(3000);
        let pulse = crate::stream::Pulse::default();
        let answer = window.read_at(0, 1, pulse.helping());
        pulse.owes();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(pulse.idle(), std::time::Duration::ZERO);
        flow.next().await.unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(pulse.idle() > std::time::Duration::ZERO, "a probe that does not take its answer is idle");
        answer.await.unwrap();
    }

    #[tokio::test]
    async fn a_flow_that_is_dropped_fails_the_request() {
        let (flow, window) = window_over(100);
        let pending = window.read_at(0, 1, helping());
        drop(flow);
        assert_eq!(pending.await, Err(WindowError::Io));
        assert_eq!(window.read_at(0, 1, helping()).await, Err(WindowError::Io));
        assert_eq!(window.read_tail(1, helping()).await, Err(WindowError::Io));
        assert!(window.failed());
    }
}
