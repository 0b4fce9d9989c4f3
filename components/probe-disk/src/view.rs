//! What has been read of a disk so far, and what must be read next.
//!
//! A format is a plain function that asks the view for ranges. A range that was not read yet ends the function with
//! [`Stop::Need`]; whoever drives it reads that range, gives it to the view and calls the function again. So the functions
//! know nothing of waiting, and what they see depends on the disk alone.

use crate::{Malformed, Verdict};

/// The most requests one disk may cost. With the one that opens it a remote disk costs ten.
pub const MAX_REQUESTS: usize = 9;

/// The most bytes that are read of one disk, where a request counts for at least 4 KiB, as the window has it.
pub const MAX_BYTES: u64 = 4 << 20;

/// The most bytes of memory that a guest of this probe takes, whatever the disk is: what was read, twice while a piece grows,
/// what is made of it, and its code's own.
pub const MAX_MEMORY: u64 = 16 << 20;

/// The most bytes of one request, as the window has it.
const MAX_READ: u64 = 1 << 20;

/// The least bytes of one request: less costs the same.
const MIN_READ: u64 = 4096;

/// A range of the disk that must be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `len` bytes at `offset`.
    At {
        /// Bytes from the start.
        offset: u64,
        /// Bytes, at most 1 MiB.
        len: u32,
    },
    /// The last `len` bytes.
    Tail {
        /// Bytes, at most 1 MiB.
        len: u32,
    },
}

/// Why a format's function ends early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Need(Request),
    Malformed(Malformed),
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// A disk as far as it was read.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// As the source says, or as a short answer has shown.
    size: Option<u64>,
    /// There is nothing at or behind this offset.
    nothing_from: Option<u64>,
    /// Offset and bytes, none of them empty.
    pieces: Vec<(u64, Vec<u8>)>,
    tail: Option<Tail>,
    /// Offsets that a disk that is read in order has passed, or that lie behind what is shown of it.
    gone: Vec<u64>,
    in_order: bool,
    partial: bool,
    expected: Option<String>,
    requests: usize,
    counted: u64,
}

#[derive(Clone, Debug)]
struct Tail {
    bytes: Vec<u8>,
    /// Whether these are all bytes there are.
    whole: bool,
    refused: bool,
}

impl View {
    /// A disk of `size` bytes (none = unknown) of which nothing was read.
    #[must_use]
    pub fn new(size: Option<u64>) -> Self {
        Self { size, ..Self::default() }
    }

    /// Takes the answer to a request: fewer bytes than asked for mean the disk's end.
    pub fn answer(&mut self, request: Request, bytes: Vec<u8>) {
        self.count(bytes.len() as u64);
        match request {
            Request::At { offset, len } => self.answer_at(offset, len, bytes),
            Request::Tail { len } => {
                let whole = bytes.len() < len as usize;
                if whole {
                    self.ends_at(bytes.len() as u64);
                }
                self.tail = Some(Tail { bytes, whole, refused: false });
            }
        }
    }

    /// Takes note that a request cannot be answered: the disk has flowed past it, or it has no tail that could be read.
    pub fn refuse(&mut self, request: Request) {
        self.count(0);
        match request {
            Request::At { offset, .. } => self.gone.push(offset),
            Request::Tail { .. } => self.tail = Some(Tail { bytes: Vec::new(), whole: false, refused: true }),
        }
    }

    /// Takes note that the disk can only be read in order, so that its tail comes when all of it has flowed.
    pub const fn in_order(&mut self) {
        self.in_order = true;
    }

    /// Takes note that no more than the beginning of the disk may be shown: what cannot be read is then not known, and says
    /// nothing of where the disk ends.
    pub const fn partial(&mut self, partial: bool) {
        self.partial = partial;
    }

    pub(crate) const fn is_partial(&self) -> bool {
        self.partial
    }

    /// Takes note of the format that the user says the disk has.
    pub fn expect(&mut self, format: Option<String>) {
        self.expected = format;
    }

    /// Whether the user says that the disk has another format than one of these.
    pub(crate) fn expects_none_of(&self, formats: &[&str]) -> bool {
        self.expected.as_deref().is_some_and(|expected| !formats.contains(&expected))
    }

    /// Whether the disk's end is to be waited for: what is refused anyway is not carried there.
    pub(crate) fn waits_for_tail(&self, verdict: &Verdict) -> bool {
        !self.in_order || !verdict.is_refused()
    }

    pub(crate) const fn flows_in_order(&self) -> bool {
        self.in_order
    }

    /// The disk's size in bytes, if known.
    pub(crate) const fn size(&self) -> Option<u64> {
        self.size
    }

    /// Whether the disk is known to end before `end`.
    pub(crate) fn ends_before(&self, end: u64) -> bool {
        self.size.is_some_and(|size| size < end)
    }

    /// Up to `len` bytes at `offset`: fewer only at the disk's end, none behind it.
    ///
    /// # Errors
    /// What must be read first; malformed if that is more than a disk may cost, or has been passed.
    pub(crate) fn at(&self, offset: u64, len: u64) -> Result<&[u8], Stop> {
        match self.ahead(offset, len)? {
            Some(bytes) => Ok(bytes),
            None if self.partial => Err(Stop::Malformed(Malformed(format!(
                "what must be known of the disk stands at {offset}, which is not shown of it"
            )))),
            None => Err(Stop::Malformed(Malformed(format!(
                "the disk has parts in an order in which a source without ranges cannot be read: {offset} comes too late"
            )))),
        }
    }

    /// As [`Self::at`], and none if the disk has flowed past it, or is not shown so far.
    pub(crate) fn ahead(&self, offset: u64, len: u64) -> Result<Option<&[u8]>, Stop> {
        let mut end = offset.saturating_add(len);
        if let Some(last) = self.size.or(self.nothing_from) {
            end = end.min(last);
        }
        if end <= offset {
            return Ok(Some(&[]));
        }
        let holding =
            |(start, bytes): &&(u64, Vec<u8>)| (*start..=start.saturating_add(bytes.len() as u64)).contains(&offset);
        // The one that reaches farthest: of two that touch here only one goes on.
        let piece = self.pieces.iter().filter(holding).max_by_key(|(start, bytes)| start + bytes.len() as u64);
        let (from, held) = match piece {
            Some((start, bytes)) => {
                (start + bytes.len() as u64, bytes.get(index(offset - start)..).unwrap_or_default())
            }
            None => (offset, &[][..]),
        };
        if from >= end {
            return Ok(held.get(..index(end - offset)));
        }
        if self.gone.contains(&from) {
            return Ok(None);
        }
        // No request may end behind the last offset there is.
        let len = (end - from).clamp(MIN_READ, MAX_READ).min(u64::MAX - from) as u32;
        Err(self.need(Request::At { offset: from, len }))
    }

    /// As [`Self::at`], and none where that lies before what was read by then and is not held: with ranges too, so that what is
    /// said of a disk does not depend on whether its source has them.
    pub(crate) fn forward(&self, offset: u64, len: u64) -> Result<Option<&[u8]>, Stop> {
        let reached = self.pieces.iter().map(|(start, bytes)| start + bytes.len() as u64).max();
        match self.ahead(offset, len) {
            Err(Stop::Need(Request::At { offset: from, .. })) if reached.is_some_and(|reached| from < reached) => {
                Ok(None)
            }
            answer => answer,
        }
    }

    /// Up to `len` bytes at `offset` as far as they were read without being asked for.
    pub(crate) fn held(&self, offset: u64, len: u64) -> &[u8] {
        let from = |(start, bytes): &'_ (u64, Vec<u8>)| {
            let at = index(offset.checked_sub(*start)?);
            (at < bytes.len()).then_some(at)
        };
        self.pieces
            .iter()
            .find_map(|piece| piece.1.get(from(piece)?..))
            .map_or(&[][..], |held| held.get(..index(len).min(held.len())).unwrap_or_default())
    }

    /// The last `len` bytes, fewer if the disk is smaller; none if they cannot be had.
    ///
    /// # Errors
    /// As [`Self::at`].
    pub(crate) fn tail(&self, len: u64) -> Result<Option<&[u8]>, Stop> {
        if let Some(size) = self.size {
            let offset = size.saturating_sub(len);
            let holds = |(start, bytes): &&(u64, Vec<u8>)| *start <= offset && start + bytes.len() as u64 >= size;
            if size == 0 {
                return Ok(Some(&[]));
            }
            if let Some((start, bytes)) = self.pieces.iter().find(holds) {
                return Ok(bytes.get(index(offset - start)..index(size - start)));
            }
        }
        match &self.tail {
            Some(tail) if tail.refused => Ok(None),
            Some(tail) if tail.whole || tail.bytes.len() as u64 >= len => {
                Ok(tail.bytes.get(tail.bytes.len().saturating_sub(index(len))..))
            }
            _ => Err(self.need(Request::Tail { len: len.clamp(MIN_READ, MAX_READ) as u32 })),
        }
    }

    fn need(&self, request: Request) -> Stop {
        let (Request::At { len, .. } | Request::Tail { len }) = request;
        if self.requests >= MAX_REQUESTS {
            return Stop::Malformed(Malformed(format!(
                "more than {MAX_REQUESTS} parts of the disk would have to be read"
            )));
        }
        if self.counted.saturating_add(u64::from(len)) > MAX_BYTES {
            return Stop::Malformed(Malformed(format!(
                "more than {MAX_BYTES} bytes of the disk would have to be read"
            )));
        }
        Stop::Need(request)
    }

    fn count(&mut self, bytes: u64) {
        self.requests += 1;
        self.counted = self.counted.saturating_add(bytes.max(MIN_READ));
    }

    fn answer_at(&mut self, offset: u64, len: u32, bytes: Vec<u8>) {
        let end = offset.saturating_add(bytes.len() as u64);
        let before = self.pieces.iter_mut().find(|(start, held)| start + held.len() as u64 == offset);
        let continues = offset == 0 || before.is_some();
        if bytes.len() < len as usize {
            match bytes.is_empty() && !continues {
                true => self.nothing_from = Some(self.nothing_from.map_or(offset, |from| from.min(offset))),
                false => self.size = Some(self.size.map_or(end, |size| size.min(end))),
            }
        }
        match self.pieces.iter_mut().find(|(start, held)| start + held.len() as u64 == offset) {
            Some((_, held)) => held.extend_from_slice(&bytes),
            None if bytes.is_empty() => {}
            None => self.pieces.push((offset, bytes)),
        }
    }

    fn ends_at(&mut self, end: u64) {
        self.size = Some(self.size.map_or(end, |size| size.min(end)));
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64, len: u32) -> Request {
        Request::At { offset, len }
    }

    #[test]
    fn what_was_read_is_not_asked_for_again() {
        let mut view = View::new(Some(100_000));
        assert_eq!(view.at(10, 100), Err(Stop::Need(at(10, 4096))));
        view.answer(at(10, 4096), vec![1; 4096]);
        assert_eq!(view.at(10, 100).unwrap(), [1; 100]);
        assert_eq!(view.at(4000, 200), Err(Stop::Need(at(4106, 4096))));
        view.answer(at(4106, 4096), vec![2; 4096]);
        assert_eq!(view.at(4105, 2).unwrap(), [1, 2]);
        assert_eq!(view.at(99_999, 10), Err(Stop::Need(at(99_999, 4096))));
        view.answer(at(99_999, 4096), vec![3]);
        assert_eq!(view.at(99_999, 10).unwrap(), [3]);
        assert_eq!(view.at(100_000, 10).unwrap(), b"");
        assert_eq!(view.at(u64::MAX, u64::MAX).unwrap(), b"");
        assert_eq!(view.at(5, 0).unwrap(), b"");
    }

    #[test]
    fn what_is_held_is_seen_without_a_request() {
        let mut view = View::new(Some(100_000));
        assert_eq!(view.held(0, 10), b"");
        view.answer(at(10, 4096), vec![1; 4096]);
        assert_eq!(
            (view.held(9, 1), view.held(4106, 1), view.held(u64::MAX, u64::MAX)),
            (&b""[..], &b""[..], &b""[..])
        );
        assert_eq!((view.held(10, 2).len(), view.held(4100, 100).len(), view.held(50, u64::MAX).len()), (2, 6, 4056));
    }

    #[test]
    fn a_short_answer_is_the_end() {
        let mut view = View::new(None);
        view.answer(at(0, 4096), vec![1; 4096]);
        assert_eq!(view.at(10_000, 1), Err(Stop::Need(at(10_000, 4096))));
        view.answer(at(10_000, 4096), Vec::new());
        assert_eq!((view.at(10_000, 1).unwrap(), view.size()), (&b""[..], None));
        view.answer(at(4096, 4096), vec![1; 4]);
        assert_eq!(view.size(), Some(4100));
        assert_eq!(view.at(4000, 1000).unwrap().len(), 100);
        assert_eq!(view.tail(3).unwrap(), Some(&[1; 3][..]));
    }

    #[test]
    fn the_tail_is_taken_from_where_it_is() {
        let mut view = View::new(Some(5000));
        assert_eq!(view.tail(10), Err(Stop::Need(Request::Tail { len: 4096 })));
        view.answer(Request::Tail { len: 4096 }, vec![9; 4096]);
        assert_eq!(view.tail(10).unwrap(), Some(&[9; 10][..]));
        assert_eq!(view.tail(5000), Err(Stop::Need(Request::Tail { len: 5000 })));
        let mut refused = View::new(None);
        refused.refuse(Request::Tail { len: 4096 });
        assert_eq!(refused.tail(1).unwrap(), None);
        let mut small = View::new(None);
        small.answer(Request::Tail { len: 4096 }, vec![9; 100]);
        assert_eq!((small.tail(4000).unwrap().unwrap().len(), small.size()), (100, Some(100)));
    }

    #[test]
    fn requests_and_bytes_are_bounded() {
        let mut view = View::new(None);
        for number in 0..MAX_REQUESTS as u64 {
            assert!(matches!(view.at(number << 20, 1), Err(Stop::Need(_))));
            view.answer(at(number << 20, 1), vec![0; 1]);
        }
        assert!(matches!(view.at(1 << 40, 1), Err(Stop::Malformed(_))));
        let mut view = View::new(None);
        for number in 0..4 {
            view.answer(at(number << 20, 1 << 20), vec![0; 1 << 20]);
        }
        assert!(matches!(view.at(4 << 20, 1), Err(Stop::Malformed(_))));
    }

    #[test]
    fn what_has_flowed_past_is_told() {
        let mut view = View::new(Some(1 << 30));
        view.refuse(at(4096, 4096));
        assert_eq!(view.ahead(4096, 10), Ok(None));
        assert!(matches!(view.at(4096, 10), Err(Stop::Malformed(_))));
    }

    #[test]
    fn what_is_not_shown_is_no_end() {
        let mut view = View::new(None);
        view.partial(true);
        view.answer(at(0, 4096), vec![1; 4096]);
        view.refuse(at(4096, 4096));
        view.refuse(Request::Tail { len: 4096 });
        assert_eq!((view.ahead(4096, 10), view.tail(10), view.size()), (Ok(None), Ok(None), None));
        assert!(!view.ends_before(u64::MAX));
        let Err(Stop::Malformed(why)) = view.at(4000, 200) else { panic!("it was not read") };
        assert!(why.0.contains("stands at 4000, which is not shown of it"), "{}", why.0);
    }
}
