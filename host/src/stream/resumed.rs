//! Reads that go on where they broke: a disk with ranges is asked again at the offset that was reached, so that whoever reads
//! it sees one flow. Nothing that arrived is read twice, and what the bytes have been through by then, hashes and probe, stays
//! as it is.

use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::Sleep;

use super::rewound::Rewound;
use super::{Attempts, Chunks, Flow, Ranges, Reading};
use crate::error::{Error, Result};
use crate::observe::{Repeats, Waiting, WaitsFor};

/// A step forward, after which attempts count anew: a source that breaks after every few bytes must not go on for ever.
const STEP_BYTES: u64 = 1 << 20;

/// Ranges whose reads go on where they break, as long as that may help.
#[derive(Clone)]
pub struct Resumable {
    ranges: Arc<dyn Ranges>,
    attempts: Attempts,
    repeats: Arc<Repeats>,
}

impl Resumable {
    /// Reads of `ranges` that are counted in `repeats`.
    #[must_use]
    pub const fn new(ranges: Arc<dyn Ranges>, attempts: Attempts, repeats: Arc<Repeats>) -> Self {
        Self { ranges, attempts, repeats }
    }

    /// The same of a disk of `size` bytes that can only be read from its start: it goes on by reading that once more, at no
    /// more than `limit` bytes per second.
    #[must_use]
    pub fn rewound(&self, size: u64, limit: Option<NonZeroU64>) -> Self {
        let ranges = Arc::new(Rewound { whole: Arc::clone(&self.ranges), size, limit });
        Self { ranges, ..self.clone() }
    }

    /// `whole`, the flow of the disk of `size` bytes from the offset `from` on, that goes on by ranges.
    #[must_use]
    pub fn whole(&self, whole: Flow, from: u64, size: u64) -> Flow {
        self.resumed(State::Flowing(whole), from, size)
    }

    fn resumed(&self, state: State, at: u64, end: u64) -> Flow {
        Flow::through(Resumed {
            of: self.clone(),
            state,
            at,
            end,
            failures: 0,
            failing_since: None,
            stepped_at: at,
            resuming: false,
        })
    }
}

impl Ranges for Resumable {
    fn read(&self, offset: u64, length: u64) -> Reading {
        let reading = self.ranges.read(offset, length);
        let flow = self.resumed(State::Asked(reading), offset, offset.saturating_add(length));
        Box::pin(std::future::ready(Ok(flow)))
    }
}

struct Resumed {
    of: Resumable,
    state: State,
    /// The offset that was reached, and the one behind the last byte.
    at: u64,
    end: u64,
    /// Breaks in a row, since this offset.
    failures: u32,
    /// When the first of them was.
    failing_since: Option<Instant>,
    stepped_at: u64,
    /// Whether it broke and no byte has come since.
    resuming: bool,
}

enum State {
    Asked(Reading),
    Flowing(Flow),
    /// The source is waited for as if it had been asked already.
    Pausing(Pin<Box<Sleep>>, Waiting),
}

impl Chunks for Resumed {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            let broke = match &mut self.state {
                State::Flowing(flow) => match flow.poll_next(cx) {
                    Poll::Ready(Some(Ok(chunk))) => {
                        self.arrived(chunk.len() as u64);
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                    Poll::Ready(Some(Err(error))) => error,
                    other => return other,
                },
                State::Asked(reading) => match reading.as_mut().poll(cx) {
                    Poll::Ready(Ok(flow)) => {
                        self.state = State::Flowing(flow);
                        continue;
                    }
                    Poll::Ready(Err(error)) => error,
                    Poll::Pending => return Poll::Pending,
                },
                State::Pausing(pause, waiting) => match pause.as_mut().poll(cx) {
                    Poll::Ready(()) => {
                        let left = self.end.saturating_sub(self.at);
                        self.state = State::Asked(self.of.ranges.read(self.at, left));
                        continue;
                    }
                    Poll::Pending => {
                        waiting.set(true);
                        return Poll::Pending;
                    }
                },
            };
            match self.pause(broke) {
                Ok(pause) => {
                    let waiting = Waiting::new(WaitsFor::Source);
                    self.state = State::Pausing(Box::pin(tokio::time::sleep(pause)), waiting);
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

impl Resumed {
    fn arrived(&mut self, bytes: u64) {
        self.at = self.at.saturating_add(bytes);
        if self.resuming {
            self.resuming = false;
            self.of.repeats.resumed();
            // What took long to be read again is no failure.
            self.failing_since = self.failing_since.map(|_| Instant::now());
        }
        if self.failures > 0 && self.at.saturating_sub(self.stepped_at) >= STEP_BYTES {
            (self.failures, self.failing_since) = (0, None);
        }
        if self.failures == 0 {
            self.stepped_at = self.at;
        }
    }

    /// How long to wait before it is asked again, if it is.
    fn pause(&mut self, broke: Error) -> Result<Duration> {
        // With all bytes there, there is nothing to ask for: what is wrong is not the line.
        if self.at >= self.end {
            return Err(broke);
        }
        self.failures = self.failures.saturating_add(1);
        let failing = self.failing_since.get_or_insert_with(Instant::now).elapsed();
        let told = broke.to_string();
        let pause = self.of.attempts.again(self.failures, failing, broke).map_err(|error| match self.failures {
            1 => error,
            _ => error.context(format!("it stopped at byte {}", self.at)),
        })?;
        self.resuming = true;
        self.of.repeats.broke(format!(
            "{told}: going on at byte {} in {:.1} s (attempt {} of {})",
            self.at,
            pause.as_secs_f64(),
            self.failures.saturating_add(1),
            self.of.attempts.most
        ));
        Ok(pause)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::super::flow::tests::collect;
    use super::super::{Connections, abreast, outcome};
    use super::*;
    use crate::error::{Code, Stage};

    const SIZE: u64 = 3_000_000;

    fn byte(at: u64) -> u8 {
        (at / 100 % 251) as u8
    }

    fn error(code: Code) -> Error {
        Error::new(code, Stage::Source, "it broke")
    }

    /// What becomes of one read.
    #[derive(Clone, Copy)]
    enum Fate {
        Whole,
        /// Fails before there is a flow.
        Refused(Code),
        /// Fails after so many bytes.
        Breaks(u64, Code),
        /// Fails after all of them.
        BreaksBehind(Code),
    }

    /// A disk whose reads fare as scripted, then well.
    #[derive(Default)]
    struct Scripted {
        fates: Mutex<VecDeque<Fate>>,
        asked: Mutex<Vec<(u64, u64)>>,
    }

    struct Chopped {
        at: u64,
        end: u64,
        then: Option<Error>,
    }

    impl Chunks for Chopped {
        fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
            if self.at == self.end {
                return Poll::Ready(self.then.take().map(Err));
            }
            let end = self.end.min(self.at + 70_000);
            let chunk = (self.at..end).map(byte).collect();
            self.at = end;
            Poll::Ready(Some(Ok(chunk)))
        }
    }

    fn flow(offset: u64, length: u64, then: Option<Error>) -> Flow {
        let (setter, ended) = outcome(Stage::Source, "test");
        setter.set(Ok(()));
        Flow::new(Chopped { at: offset, end: offset + length, then }, ended, None)
    }

    impl Scripted {
        fn new(fates: &[Fate]) -> Arc<Self> {
            Arc::new(Self { fates: Mutex::new(fates.iter().copied().collect()), asked: Mutex::default() })
        }

        fn fare(&self, offset: u64, length: u64) -> Result<Flow> {
            match self.fates.lock().unwrap().pop_front().unwrap_or(Fate::Whole) {
                Fate::Whole => Ok(flow(offset, length, None)),
                Fate::Refused(code) => Err(error(code)),
                Fate::Breaks(bytes, code) => Ok(flow(offset, bytes.min(length - 1), Some(error(code)))),
                Fate::BreaksBehind(code) => Ok(flow(offset, length, Some(error(code)))),
            }
        }

        fn asked(&self) -> Vec<(u64, u64)> {
            self.asked.lock().unwrap().clone()
        }
    }

    impl Ranges for Scripted {
        fn read(&self, offset: u64, length: u64) -> Reading {
            self.asked.lock().unwrap().push((offset, length));
            Box::pin(std::future::ready(self.fare(offset, length)))
        }
    }

    fn resumable(disk: &Arc<Scripted>, most: u32) -> (Resumable, Arc<Repeats>) {
        let repeats = Arc::<Repeats>::default();
        let attempts = Attempts { most, back_off: Duration::from_millis(1), total: Duration::MAX };
        (Resumable::new(Arc::clone(disk) as _, attempts, Arc::clone(&repeats)), repeats)
    }

    /// Reads the whole disk, of which the first flow fares as the first fate says.
    async fn read(fates: &[Fate], most: u32) -> (Result<Vec<u8>>, Vec<(u64, u64)>, Arc<Repeats>) {
        let disk = Scripted::new(fates);
        let (resumable, repeats) = resumable(&disk, most);
        let whole = disk.fare(0, SIZE).unwrap();
        let all = collect(resumable.whole(whole, 0, SIZE)).await;
        (all, disk.asked(), repeats)
    }

    fn is_the_disk(bytes: &[u8], from: u64) -> bool {
        bytes.iter().enumerate().all(|(at, found)| *found == byte(from + at as u64))
    }

    #[tokio::test]
    async fn it_goes_on_where_it_broke_wherever_that_was() {
        use Code::{SourceFailed, SourceStalled, SourceTruncated, SourceUnreachable};
        for code in [SourceFailed, SourceStalled, SourceTruncated, SourceUnreachable] {
            for at in [0, 1, 70_000, 123_456, SIZE - 1] {
                let (all, asked, repeats) = read(&[Fate::Breaks(at, code)], 2).await;
                let all = all.unwrap();
                assert!(all.len() as u64 == SIZE && is_the_disk(&all, 0), "{code:?} at {at}");
                assert_eq!(asked, [(at, SIZE - at)], "nothing is read twice");
                assert_eq!((repeats.attempt(), repeats.resumes()), (2, 1));
            }
        }
    }

    #[tokio::test]
    async fn what_can_only_be_read_from_its_start_is_read_again_up_to_where_it_broke() {
        for at in [0, 1, 70_000, 123_456, SIZE - 1] {
            let disk =
                Scripted::new(&[Fate::Breaks(at, Code::SourceTruncated), Fate::Breaks(50_000, Code::SourceFailed)]);
            let (resumable, repeats) = resumable(&disk, 3);
            let whole = disk.fare(0, SIZE).unwrap();
            let all = collect(resumable.rewound(SIZE, None).whole(whole, 0, SIZE)).await.unwrap();
            assert!(all.len() as u64 == SIZE && is_the_disk(&all, 0), "{at}");
            assert_eq!((disk.asked(), repeats.attempt()), (vec![(0, SIZE); 2], 3));
        }
        let disk = Scripted::new(&[]);
        let part = resumable(&disk, 1).0.rewound(SIZE, None).read(70_001, 100).await.unwrap();
        let part = collect(part).await.unwrap();
        assert!(part.len() == 100 && is_the_disk(&part, 70_001));
        let disk = Scripted::new(&[Fate::Breaks(10, Code::SourceTruncated), Fate::Refused(Code::SourceChanged)]);
        let whole = disk.fare(0, SIZE).unwrap();
        let all = collect(resumable(&disk, 3).0.rewound(SIZE, None).whole(whole, 0, SIZE)).await;
        assert_eq!(all.unwrap_err().code(), Code::SourceChanged);
    }

    #[tokio::test]
    async fn attempts_are_counted_in_a_row() {
        let refused = Fate::Refused(Code::SourceUnreachable);
        let (all, asked, repeats) = read(&[Fate::Breaks(10, Code::SourceFailed), refused, refused], 4).await;
        assert!(is_the_disk(&all.unwrap(), 0));
        assert_eq!((asked.len(), repeats.attempt(), repeats.resumes()), (3, 4, 1));
        let (all, asked, _) = read(&[Fate::Breaks(10, Code::SourceFailed), refused, refused, refused], 4).await;
        let error = all.unwrap_err();
        assert_eq!((error.code(), asked.len()), (Code::SourceUnreachable, 3));
        assert_eq!(error.causes(), ["it was asked 4 times in a row", "it stopped at byte 10"]);

        // Steps forward make them count anew, little steps do not.
        let step = Fate::Breaks(STEP_BYTES, Code::SourceTruncated);
        assert!(read(&[step, step, refused], 3).await.0.is_ok());
        assert!(read(&[step, refused, refused], 3).await.0.is_err());
        let little = Fate::Breaks(STEP_BYTES / 3, Code::SourceTruncated);
        assert!(read(&[little, little, little], 3).await.0.is_err());
    }

    #[tokio::test]
    async fn with_one_attempt_the_first_break_is_the_end() {
        let (all, asked, repeats) = read(&[Fate::Breaks(10, Code::SourceTruncated)], 1).await;
        let error = all.unwrap_err();
        assert_eq!(
            (error.code(), error.causes().len(), asked.len(), repeats.attempt()),
            (Code::SourceTruncated, 0, 0, 1)
        );
    }

    #[tokio::test]
    async fn what_is_no_break_of_the_line_is_the_end() {
        for code in [Code::SourceChanged, Code::SourceInvalid, Code::EgressDenied] {
            let (all, asked, _) = read(&[Fate::Breaks(10, code)], 5).await;
            assert_eq!((all.unwrap_err().code(), asked.len()), (code, 0));
            let fates = [Fate::Breaks(10, Code::SourceTruncated), Fate::Refused(code)];
            let (all, asked, _) = read(&fates, 5).await;
            assert_eq!((all.unwrap_err().code(), asked.len()), (code, 1), "also when it is asked again");
        }
        let (all, asked, _) = read(&[Fate::BreaksBehind(Code::SourceFailed)], 5).await;
        assert!(all.is_err() && asked.is_empty(), "all bytes came, and it failed all the same");
    }

    #[tokio::test]
    async fn every_piece_goes_on_by_itself() {
        let connections: Connections = "16".parse().unwrap();
        let size = 20 << 20;
        let broken = Fate::Breaks(100_000, Code::SourceTruncated);
        let disk = Scripted::new(&[broken; 7]);
        let (resumable, repeats) = resumable(&disk, 3);
        let whole = resumable.whole(disk.fare(0, size).unwrap(), 0, size);
        let all = collect(abreast(whole, Arc::new(resumable), 0, size, connections)).await.unwrap();
        assert!(all.len() as u64 == size && is_the_disk(&all, 0));
        assert_eq!(repeats.resumes(), 7);
    }

    #[tokio::test]
    async fn a_range_goes_on_to_its_own_end() {
        let disk = Scripted::new(&[Fate::Refused(Code::SourceFailed), Fate::Breaks(7, Code::SourceFailed)]);
        let (resumable, _) = resumable(&disk, 3);
        let part = collect(resumable.read(1000, 50).await.unwrap()).await.unwrap();
        assert!(part.len() == 50 && is_the_disk(&part, 1000));
        assert_eq!(disk.asked(), [(1000, 50), (1000, 50), (1007, 43)]);
    }
}
