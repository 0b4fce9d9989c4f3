//! A disk that is read by range, as a flow from its first byte on: for who wants to see no more of it than a probe may.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::ranged::Ranged;
use super::{Answer, MAX_WINDOW_READ, View, Window, WindowError};
use crate::error::{Error, Result, Stage};
use crate::stream::{Chunks, Cut, Flow, Pulse};

/// How much is asked for at a time: little as long as little may be enough.
const PIECES: [u32; 2] = [128 << 10, 512 << 10];

/// Less than this is not asked for: it counts as much.
const LEAST: u64 = 4096;

pub(super) fn pieces(window: Window, requests: usize) -> (Flow, Cut, u64) {
    let cut = Cut::default();
    let (left, asked) = match &window.view {
        View::Ranged(view) => (view.left(), view.requests()),
        View::InOrder(_) => (0, usize::MAX),
    };
    let requests = requests.saturating_sub(asked);
    let most = PIECES.iter().copied().chain(std::iter::repeat(MAX_WINDOW_READ)).take(requests);
    let comes = most.map(u64::from).sum::<u64>().min(left);
    let pieces = Pieces { window, at: 0, asked: 0, requests, answer: None, cut: cut.clone() };
    (Flow::through(pieces), cut, comes)
}

struct Pieces {
    window: Window,
    at: u64,
    /// Ranges that were asked for, and the most.
    asked: usize,
    requests: usize,
    answer: Option<Answer>,
    cut: Cut,
}

impl Chunks for Pieces {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let View::Ranged(view) = &self.window.view else { return Poll::Ready(Some(Err(self.cut.reach()))) };
        if self.answer.is_none() {
            let Some(len) = next(view, self.window.size, self.at, &mut self.asked, self.requests) else {
                return Poll::Ready(Some(Err(self.cut.reach())));
            };
            // Nobody is kept waiting here but whoever reads the flow.
            self.answer = Some(self.window.read_at(self.at, len, Pulse::default().helping()));
        }
        let Some(answer) = &mut self.answer else { return Poll::Ready(None) };
        let Poll::Ready(answered) = answer.as_mut().poll(cx) else { return Poll::Pending };
        self.answer = None;
        Poll::Ready(match answered {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => {
                self.at = self.at.saturating_add(bytes.len() as u64);
                Some(Ok(bytes.into()))
            }
            Err(WindowError::Limit) => Some(Err(self.cut.reach())),
            Err(why) => Some(Err(self.window.take_error().unwrap_or_else(|| {
                Error::internal(Stage::Probe, format!("a disk cannot be read from its start by range: {why:?}"))
            }))),
        })
    }
}

/// How much to read next; none if no more may be.
fn next(view: &Ranged, size: Option<u64>, at: u64, asked: &mut usize, requests: usize) -> Option<u32> {
    let most = PIECES.get(*asked).copied().unwrap_or(MAX_WINDOW_READ);
    if size.is_some_and(|size| at >= size) {
        return Some(most);
    }
    let end = at.saturating_add(u64::from(most)).min(size.unwrap_or(u64::MAX));
    let (held, len) = view.held(at..end);
    if held {
        return u32::try_from(len).ok();
    }
    let left = view.left();
    if *asked >= requests || left < LEAST {
        return None;
    }
    *asked += 1;
    u32::try_from(len.min(left)).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::tests::helping;
    use super::super::{MAX_RANGED_BYTES, Ranges, Reading};
    use super::*;
    use crate::stream::flow::tests::flow;

    struct Disk(Vec<u8>, Mutex<Vec<(u64, u64)>>);

    impl Ranges for Disk {
        fn read(&self, offset: u64, length: u64) -> Reading {
            self.1.lock().unwrap().push((offset, length));
            let bytes = self.0[offset as usize..(offset + length) as usize].to_vec();
            Box::pin(async move { Ok(flow(&[&bytes])) })
        }
    }

    async fn all(mut flow: Flow) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        loop {
            match flow.next().await {
                Ok(Some(chunk)) => all.extend_from_slice(&chunk),
                end => return (all, end.is_ok()),
            }
        }
    }

    fn over(length: usize) -> (Arc<Disk>, Window) {
        let disk: Vec<u8> = (0..=250).cycle().take(length).collect();
        let disk = Arc::new(Disk(disk, Mutex::default()));
        let window = Window::over(Arc::clone(&disk) as Arc<dyn Ranges>, Some(length as u64));
        (disk, window)
    }

    #[tokio::test]
    async fn what_was_answered_is_not_asked_for_again() {
        let (disk, window) = over(300_000);
        window.read_at(0, 65_536, helping()).await.unwrap();
        window.read_tail(4096, helping()).await.unwrap();
        let (flow, cut, comes) = window.pieces(9);
        assert!(comes >= 300_000);
        assert_eq!(all(flow).await, (disk.0.clone(), true));
        assert!(!cut.is_reached());
        let asked = disk.1.lock().unwrap().clone();
        assert_eq!(asked, [(0, 65_536), (295_904, 4096), (65_536, 131_072), (196_608, 99_296)]);
    }

    #[tokio::test]
    async fn no_more_is_read_than_a_probe_may() {
        let (disk, window) = over(8 << 20);
        window.read_at(0, 65_536, helping()).await.unwrap();
        let (flow, cut, comes) = window.pieces(20);
        let (bytes, ended) = all(flow).await;
        assert!(!ended && cut.is_reached());
        assert_eq!(bytes, disk.0[..bytes.len()]);
        assert_eq!(bytes.len() as u64, MAX_RANGED_BYTES);
        assert_eq!(comes, MAX_RANGED_BYTES - 65_536);
        assert!(disk.1.lock().unwrap().len() <= 7);
    }

    #[tokio::test]
    async fn no_more_is_asked_for_than_is_left() {
        for (requests, bytes) in [(1, 65_536), (2, 196_608), (3, 196_608 + (512 << 10)), (0, 65_536)] {
            let (disk, window) = over(8 << 20);
            window.read_at(0, 65_536, helping()).await.unwrap();
            let (flow, cut, _) = window.pieces(requests);
            let (came, ended) = all(flow).await;
            assert_eq!((came.len(), ended, cut.is_reached()), (bytes, false, true), "{requests}");
            assert_eq!(disk.1.lock().unwrap().len(), requests.max(1));
        }
    }
}
