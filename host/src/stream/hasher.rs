//! A thread that hashes beside the flow.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use bytes::Bytes;

use super::algorithm::{Hashes, Sum};
use crate::error::{Error, Result, Stage};
use crate::observe::{Meter, thread_cpu};

/// Bytes that may wait for a hasher. One chunk more may stand there: a flow that was let on pushes whole.
const QUEUE_BYTES: usize = 1 << 20;
/// How many must wait before the thread is woken: waking it for every chunk would cost more than it saves.
const WAKE_BYTES: usize = 256 * 1024;
/// Bytes after which the thread looks what it has cost: that clock is a call into the kernel.
const READ_CPU_EVERY: usize = 1 << 20;

/// The flow's end of it. Dropping it ends the thread.
pub(super) struct Hasher(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Bytes>,
    queued: usize,
    ended: bool,
    given_up: bool,
    thread_gone: bool,
    sums: Option<Vec<Sum>>,
    flow: Option<Waker>,
}

/// Notes that the thread is gone, however it went.
struct Gone(Arc<Shared>);

impl Hasher {
    /// Starts the thread; `meter` has what it costs.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub(super) fn start(hashes: Hashes, meter: Arc<Meter>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let gone = Gone(Arc::clone(&shared));
        thread::Builder::new().name("checksums".to_owned()).spawn(move || hash(&gone.0, hashes, &meter))?;
        Ok(Self(shared))
    }

    /// Ready when there is room for a chunk.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.0.lock();
        if state.thread_gone {
            return Poll::Ready(Err(gone()));
        }
        if state.queued < QUEUE_BYTES {
            return Poll::Ready(Ok(()));
        }
        state.flow = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Pushes a chunk, for which [`Self::poll_ready`] made room.
    pub(super) fn push(&self, chunk: Bytes) {
        let mut state = self.0.lock();
        let before = state.queued;
        state.queued += chunk.len();
        state.queue.push_back(chunk);
        if before < WAKE_BYTES && state.queued >= WAKE_BYTES {
            self.0.work.notify_one();
        }
    }

    /// There will be no more chunks.
    pub(super) fn end(&self) {
        self.0.lock().ended = true;
        self.0.work.notify_one();
    }

    /// The checksums, once, after [`Self::end`].
    pub(super) fn poll_sums(&self, cx: &mut Context<'_>) -> Poll<Result<Vec<Sum>>> {
        let mut state = self.0.lock();
        if let Some(sums) = state.sums.take() {
            return Poll::Ready(Ok(sums));
        }
        if state.thread_gone {
            return Poll::Ready(Err(gone()));
        }
        state.flow = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.given_up = true;
        state.queue.clear();
        self.0.work.notify_one();
    }
}

impl Drop for Gone {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.thread_gone = true;
        state.wake();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next chunk, waited for until it is worth it; none at the end.
    fn next(&self) -> Option<Bytes> {
        let mut state = self.lock();
        if state.queue.is_empty() {
            let idle = |state: &mut State| state.queued < WAKE_BYTES && !state.ended && !state.given_up;
            state = self.work.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        }
        state.queue.pop_front()
    }

    /// A chunk is hashed: its room is free.
    fn hashed(&self, bytes: usize) {
        let mut state = self.lock();
        state.queued = state.queued.saturating_sub(bytes);
        // Not for every chunk: the flow gets half the queue at once.
        if state.queued <= QUEUE_BYTES / 2 {
            state.wake();
        }
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(flow) = self.flow.take() {
            flow.wake();
        }
    }
}

fn hash(shared: &Shared, mut hashes: Hashes, meter: &Meter) {
    let (mut before, mut unread) = (thread_cpu(), 0);
    let mut read = || {
        let now = thread_cpu();
        meter.was_on_cpu(now.saturating_sub(before));
        before = now;
    };
    while let Some(chunk) = shared.next() {
        hashes.update(&chunk);
        shared.hashed(chunk.len());
        unread += chunk.len();
        if unread >= READ_CPU_EVERY {
            unread = 0;
            read();
        }
    }
    read();
    let mut state = shared.lock();
    if !state.given_up {
        state.sums = Some(hashes.finish());
    }
}

fn gone() -> Error {
    Error::internal(Stage::Checksum, "the thread that computes checksums is gone")
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::super::algorithm::{Algorithm, Begun};
    use super::*;

    fn hashes(algorithms: &[Algorithm]) -> Hashes {
        Hashes::new(algorithms, &Begun::default()).unwrap()
    }

    #[tokio::test]
    async fn the_flow_waits_for_room_and_gets_the_sums_at_the_end() {
        let hasher = Hasher::start(hashes(&[Algorithm::Md5, Algorithm::Sha1]), Arc::default()).unwrap();
        let bytes = vec![7; 3 * QUEUE_BYTES + 5];
        for chunk in bytes.chunks(WAKE_BYTES - 1) {
            poll_fn(|cx| hasher.poll_ready(cx)).await.unwrap();
            assert!(hasher.0.lock().queued < QUEUE_BYTES);
            hasher.push(Bytes::copy_from_slice(chunk));
        }
        hasher.end();
        let mut expected = hashes(&[Algorithm::Md5, Algorithm::Sha1]);
        expected.update(&bytes);
        assert_eq!(poll_fn(|cx| hasher.poll_sums(cx)).await.unwrap(), expected.finish());
    }

    #[tokio::test]
    async fn a_hasher_that_is_dropped_ends_its_thread() {
        let hasher = Hasher::start(hashes(&[Algorithm::Sha256]), Arc::default()).unwrap();
        hasher.push(Bytes::from_static(b"too little to wake it"));
        let shared = Arc::clone(&hasher.0);
        drop(hasher);
        for _ in 0..1000 {
            if shared.lock().thread_gone {
                assert!(shared.lock().sums.is_none(), "nobody asked for sums of a part");
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the thread goes on");
    }

    #[tokio::test]
    async fn a_thread_that_is_gone_fails_the_flow() {
        let hasher = Hasher(Arc::new(Shared::default()));
        drop(Gone(Arc::clone(&hasher.0)));
        assert!(poll_fn(|cx| hasher.poll_ready(cx)).await.is_err());
        assert!(poll_fn(|cx| hasher.poll_sums(cx)).await.is_err());
    }
}
