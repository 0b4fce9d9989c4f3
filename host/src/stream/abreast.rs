//! A disk read over several connections at once, in order: what one connection over a long way cannot carry, several can.
//!
//! The disk is cut into pieces. Each connection brings one piece at a time; what comes before its turn is held, and a piece is
//! begun only when one more may be held whole. So no connection ever waits for another, and memory is bounded.

use std::collections::VecDeque;
use std::num::NonZeroU8;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::{Chunks, Flow, Ranges, Reading};
use crate::error::{Error, Result, Stage};

/// The most connections to one source.
pub const MAX_CONNECTIONS: u8 = 16;
/// Bytes that all pieces under way may hold together. The first one's go on as they come, the others share these: as large
/// as they may be, since each costs its connection a round trip in which nothing comes.
const HELD_BYTES: u64 = 24 << 20;

/// How many connections bring one disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections(NonZeroU8);

impl Connections {
    /// One: the disk as it comes.
    pub const ONE: Self = Self(NonZeroU8::MIN);

    /// How many.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0.get()
    }

    const fn piece_bytes(self) -> u64 {
        match self.0.get() {
            0 | 1 => HELD_BYTES,
            most => HELD_BYTES / (most as u64 - 1),
        }
    }
}

impl FromStr for Connections {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .ok()
            .and_then(NonZeroU8::new)
            .filter(|number| number.get() <= MAX_CONNECTIONS)
            .map(Self)
            .ok_or_else(|| format!("expected a number from 1 to {MAX_CONNECTIONS}"))
    }
}

/// The disk of `size` bytes behind `ranges` from the offset `from` on, of which `whole` is the flow, over so many connections.
#[must_use]
pub fn abreast(whole: Flow, ranges: Arc<dyn Ranges>, from: u64, size: u64, connections: Connections) -> Flow {
    let piece_bytes = connections.piece_bytes();
    if connections == Connections::ONE || size.saturating_sub(from) <= piece_bytes {
        return whole;
    }
    let first = Piece { state: State::Flowing(whole), left: piece_bytes, held: VecDeque::new() };
    let most = usize::from(connections.get());
    let begun = from.saturating_add(piece_bytes);
    Flow::through(Abreast { ranges, begun, size, piece_bytes, most, pieces: [first].into() })
}

struct Abreast {
    ranges: Arc<dyn Ranges>,
    /// Where the next piece begins.
    begun: u64,
    size: u64,
    piece_bytes: u64,
    most: usize,
    /// Those under way, in order.
    pieces: VecDeque<Piece>,
}

struct Piece {
    state: State,
    /// Bytes that are still to come.
    left: u64,
    /// What came before its turn.
    held: VecDeque<Bytes>,
}

enum State {
    Asked(Reading),
    Flowing(Flow),
    Ended,
}

impl Chunks for Abreast {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            self.begin();
            // The others first, so that all of them have been asked whatever the first one has to give: nobody would wake this
            // flow for one that was not.
            for piece in self.pieces.iter_mut().skip(1) {
                while let Poll::Ready(Some(chunk)) = piece.poll(cx)? {
                    piece.held.push_back(chunk);
                }
            }
            let Some(first) = self.pieces.front_mut() else { return Poll::Ready(None) };
            if let Some(chunk) = first.held.pop_front() {
                return Poll::Ready(Some(Ok(chunk)));
            }
            match first.poll(cx)? {
                Poll::Ready(Some(chunk)) => return Poll::Ready(Some(Ok(chunk))),
                Poll::Ready(None) => drop(self.pieces.pop_front()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Abreast {
    /// Begins pieces while there may be more of them.
    fn begin(&mut self) {
        while self.pieces.len() < self.most && self.begun < self.size {
            let left = self.piece_bytes.min(self.size.saturating_sub(self.begun));
            let state = State::Asked(self.ranges.read(self.begun, left));
            self.pieces.push_back(Piece { state, left, held: VecDeque::new() });
            self.begun = self.begun.saturating_add(left);
        }
    }
}

impl Piece {
    /// The next chunk of this piece; none once it is whole.
    fn poll(&mut self, cx: &mut Context<'_>) -> Result<Poll<Option<Bytes>>> {
        loop {
            match &mut self.state {
                State::Ended => return Ok(Poll::Ready(None)),
                State::Asked(reading) => match reading.as_mut().poll(cx) {
                    Poll::Ready(flow) => self.state = State::Flowing(flow?),
                    Poll::Pending => return Ok(Poll::Pending),
                },
                State::Flowing(flow) => match flow.poll_next(cx) {
                    Poll::Pending => return Ok(Poll::Pending),
                    Poll::Ready(None) if self.left == 0 => self.state = State::Ended,
                    Poll::Ready(None) => return Err(short(self.left)),
                    Poll::Ready(Some(chunk)) => {
                        let mut chunk = chunk?;
                        let Some(left) = self.left.checked_sub(chunk.len() as u64) else {
                            // The flow of the whole disk: the rest is brought by the others.
                            chunk.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
                            self.left = 0;
                            self.state = State::Ended;
                            if !chunk.is_empty() {
                                return Ok(Poll::Ready(Some(chunk)));
                            }
                            continue;
                        };
                        self.left = left;
                        return Ok(Poll::Ready(Some(chunk)));
                    }
                },
            }
        }
    }
}

/// Whoever reads the ranges checks their length; without that a gap must not pass for an end.
fn short(left: u64) -> Error {
    Error::internal(Stage::Source, format!("a range of the disk ended {left} bytes too early"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::flow::tests::{Listed, collect};
    use super::super::outcome;
    use super::*;

    const CHUNK: usize = 300_000;

    fn byte(at: u64) -> u8 {
        (at / 1000 % 251) as u8
    }

    fn flow(from: u64, to: u64) -> Flow {
        let (setter, ended) = outcome(Stage::Source, "test");
        setter.set(Ok(()));
        let bytes: Bytes = (from..to).map(byte).collect();
        let chunks = bytes.chunks(CHUNK).map(|chunk| bytes.slice_ref(chunk)).collect();
        Flow::new(Listed(chunks), ended, None)
    }

    /// Ranges that answer in an order of their own, and note how many were open at once.
    #[derive(Default)]
    struct Shuffled {
        asked: Mutex<Vec<(u64, u64)>>,
        fails_at: Option<u64>,
        short_at: Option<u64>,
    }

    impl Ranges for Shuffled {
        fn read(&self, offset: u64, length: u64) -> Reading {
            let mut asked = self.asked.lock().unwrap();
            asked.push((offset, length));
            // Later ones answer sooner.
            let turns = 40_usize.saturating_sub(asked.len() * 7 % 41);
            let (fails, short) = (self.fails_at == Some(offset), self.short_at == Some(offset));
            Box::pin(async move {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                if fails {
                    return Err(Error::internal(Stage::Source, "no"));
                }
                Ok(flow(offset, offset + length - u64::from(short)))
            })
        }
    }

    async fn read(size: u64, connections: &str, ranges: Shuffled) -> (Result<Vec<u8>>, Vec<(u64, u64)>) {
        let ranges = Arc::new(ranges);
        let whole = flow(0, size);
        let all = collect(abreast(whole, Arc::clone(&ranges) as _, 0, size, connections.parse().unwrap())).await;
        let asked = ranges.asked.lock().unwrap().clone();
        (all, asked)
    }

    #[tokio::test]
    async fn the_disk_is_the_same_over_any_number_of_connections() {
        for connections in ["1", "2", "7", "16"] {
            let piece = connections.parse::<Connections>().unwrap().piece_bytes();
            let many = [0, 1, piece - 1, piece, piece + 1, 3 * piece, 3 * piece + 12_345];
            // Those of few connections are large.
            for size in many.into_iter().filter(|size| *size <= HELD_BYTES + 1) {
                let (all, asked) = read(size, connections, Shuffled::default()).await;
                let all = all.unwrap();
                assert_eq!(all.len() as u64, size, "{connections}");
                assert!(all.iter().enumerate().all(|(at, found)| *found == byte(at as u64)), "{connections}");
                let rest: u64 = asked.iter().map(|(_, length)| length).sum();
                let expected = if connections == "1" { 0 } else { size.saturating_sub(piece) };
                assert_eq!(rest, expected, "every byte is asked for once");
            }
        }
    }

    #[tokio::test]
    async fn what_is_held_is_bounded_and_the_first_piece_is_not_waited_for() {
        let size = 10 * HELD_BYTES;
        let ranges = Arc::new(Shuffled::default());
        let connections: Connections = "4".parse().unwrap();
        let (_setter, silent) = outcome(Stage::Source, "test");
        let whole = Flow::new(Listed(VecDeque::new()), silent, None);
        let mut flow = abreast(whole, Arc::clone(&ranges) as _, 0, size, connections);
        for _ in 0..1000 {
            let next = std::future::poll_fn(|cx| Poll::Ready(flow.poll_next(cx))).await;
            assert!(next.is_pending(), "nothing goes before its turn");
            tokio::task::yield_now().await;
        }
        let asked = ranges.asked.lock().unwrap();
        assert_eq!(asked.len(), 3);
        assert!(asked.iter().map(|(_, length)| length).sum::<u64>() <= HELD_BYTES);
    }

    #[tokio::test]
    async fn one_piece_that_fails_or_ends_early_fails_the_disk() {
        let piece = "3".parse::<Connections>().unwrap().piece_bytes();
        for ranges in [
            Shuffled { fails_at: Some(2 * piece), ..Shuffled::default() },
            Shuffled { short_at: Some(2 * piece), ..Shuffled::default() },
        ] {
            assert!(read(4 * piece, "3", ranges).await.0.is_err());
        }
    }

    #[test]
    fn the_number_is_bounded() {
        for text in ["0", "17", "-1", "two", "", "300"] {
            assert!(text.parse::<Connections>().is_err(), "{text}");
        }
        assert_eq!("16".parse::<Connections>().unwrap().get(), MAX_CONNECTIONS);
        for number in 1..=MAX_CONNECTIONS {
            let connections: Connections = number.to_string().parse().unwrap();
            assert!(connections.piece_bytes() * u64::from(number - 1) <= HELD_BYTES);
        }
    }
}
