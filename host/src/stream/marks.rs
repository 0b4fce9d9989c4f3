//! Midstates of hashes on their way, so that another process can go on hashing where this one was killed.
//!
//! A mark is what a hash knows after all bytes in front of an offset. Marks of several hashes over the same bytes stand at the
//! same offsets: whoever goes on needs one of each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::Sha256;
use sha2::digest::common::hazmat::SerializableState as _;

/// Bytes between two marks: what is hashed once more at most, besides what was in memory.
pub const MARK_EVERY: u64 = 16 << 20;
/// So many of the last marks are kept: a receiver is never further behind what was hashed than this, but for a spool.
const LATEST: u64 = 64;
/// Of older ones every so manieth.
const COARSE: u64 = 64;
/// The most marks of one hash. Beyond it the oldest go.
const MOST: usize = 4096;

/// What a hash knows at a mark.
pub type Midstate = Vec<u8>;

/// The marks of one hash: those of an earlier process, and those it makes.
#[derive(Clone, Debug, Default)]
pub struct Marks(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// Marks stand whole intervals behind it.
    first: u64,
    midstates: BTreeMap<u64, Midstate>,
    contradicted: Option<u64>,
}

/// A hash that can stop at marks.
pub(super) trait Midway {
    /// Hashes more.
    fn update(&mut self, bytes: &[u8]);

    /// What it knows now.
    fn midstate(&self) -> Midstate;
}

impl Marks {
    /// Marks at whole intervals behind `first`, some of which are known already.
    #[must_use]
    pub fn new(first: u64, known: BTreeMap<u64, Midstate>) -> Self {
        Self(Arc::new(Mutex::new(Kept { first, midstates: known, contradicted: None })))
    }

    /// What the hash knows at `offset`, if there is a mark.
    #[must_use]
    pub fn at(&self, offset: u64) -> Option<Midstate> {
        self.lock().midstates.get(&offset).cloned()
    }

    /// Every mark.
    #[must_use]
    pub fn all(&self) -> BTreeMap<u64, Midstate> {
        self.lock().midstates.clone()
    }

    /// The offset of the last mark; 0 if there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.lock().midstates.last_key_value().map_or(0, |(offset, _)| *offset)
    }

    /// Where the bytes were others than those that an earlier process had hashed.
    #[must_use]
    pub fn contradicted(&self) -> Option<u64> {
        self.lock().contradicted
    }

    /// Hashes `bytes`, which begin at `at`, and leaves marks on the way.
    pub(super) fn pass(&self, hash: &mut impl Midway, at: u64, mut bytes: &[u8]) {
        let mut at = at;
        loop {
            let left = usize::try_from(self.next(at).saturating_sub(at)).unwrap_or(usize::MAX);
            let Some((now, rest)) = bytes.split_at_checked(left) else {
                return hash.update(bytes);
            };
            hash.update(now);
            (at, bytes) = (at.saturating_add(now.len() as u64), rest);
            self.leave(at, hash.midstate());
        }
    }

    /// Where the next mark behind `at` stands.
    fn next(&self, at: u64) -> u64 {
        let first = self.lock().first;
        let passed = at.checked_sub(first).map_or(0, |passed| passed / MARK_EVERY);
        first.saturating_add((passed + 1).saturating_mul(MARK_EVERY))
    }

    fn leave(&self, at: u64, midstate: Midstate) {
        let mut kept = self.lock();
        let first = kept.first;
        if kept.midstates.get(&at).is_some_and(|known| *known != midstate) {
            kept.contradicted.get_or_insert(at);
        }
        kept.midstates.insert(at, midstate);
        // The one that leaves the last ones stays only if it is one of the coarse.
        let nth = at.saturating_sub(first) / MARK_EVERY;
        if let Some(old) = nth.checked_sub(LATEST).filter(|old| !old.is_multiple_of(COARSE)) {
            kept.midstates.remove(&first.saturating_add(old * MARK_EVERY));
        }
        if kept.midstates.len() > MOST {
            kept.midstates.pop_first();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Midway for Sha256 {
    fn update(&mut self, bytes: &[u8]) {
        sha2::Digest::update(self, bytes);
    }

    fn midstate(&self) -> Midstate {
        self.serialize().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(u64);

    impl Midway for Counting {
        fn update(&mut self, bytes: &[u8]) {
            self.0 += bytes.len() as u64;
        }

        fn midstate(&self) -> Midstate {
            self.0.to_be_bytes().to_vec()
        }
    }

    fn pass(marks: &Marks, first: u64, from: u64, to: u64, chunk: usize) {
        let (bytes, mut hash, mut at) = (vec![0; chunk], Counting(from - first), from);
        while at < to {
            let now = chunk.min(usize::try_from(to - at).unwrap());
            marks.pass(&mut hash, at, &bytes[..now]);
            at += now as u64;
        }
    }

    #[test]
    fn a_mark_knows_all_bytes_in_front_of_it() {
        let marks = Marks::new(7, BTreeMap::new());
        pass(&marks, 0, 0, 7 + 2 * MARK_EVERY, 1_000_003);
        let at: Vec<u64> = marks.all().into_keys().collect();
        assert_eq!(at, [7 + MARK_EVERY, 7 + 2 * MARK_EVERY], "also one that stands at the very end");
        for (at, midstate) in marks.all() {
            assert_eq!(midstate, at.to_be_bytes());
        }
        assert_eq!((marks.contradicted(), marks.last()), (None, 7 + 2 * MARK_EVERY));
    }

    #[test]
    fn a_chunk_may_be_longer_than_an_interval() {
        let marks = Marks::new(0, BTreeMap::new());
        pass(&marks, 0, 0, 3 * MARK_EVERY + 5, usize::try_from(3 * MARK_EVERY + 5).unwrap());
        assert_eq!(marks.all().len(), 3);
    }

    #[test]
    fn old_marks_thin_out_and_the_same_offsets_stay_for_every_hash() {
        let marks = Marks::new(0, BTreeMap::new());
        for nth in 1..=1000_u64 {
            marks.leave(nth * MARK_EVERY, vec![1]);
        }
        let kept: Vec<u64> = marks.all().into_keys().map(|at| at / MARK_EVERY).collect();
        assert!(kept.iter().all(|nth| *nth > 1000 - LATEST || nth.is_multiple_of(COARSE)), "{kept:?}");
        assert_eq!(kept.len() as u64, LATEST + (1000 - LATEST) / COARSE);
        for nth in 1..=(MOST as u64 * COARSE * 2) {
            marks.leave(nth * MARK_EVERY, vec![1]);
        }
        assert_eq!(marks.all().len(), MOST);
    }

    #[test]
    fn other_bytes_than_before_are_noticed() {
        let known = BTreeMap::from([(MARK_EVERY, MARK_EVERY.to_be_bytes().to_vec()), (2 * MARK_EVERY, vec![0])]);
        let marks = Marks::new(0, known);
        pass(&marks, 0, 0, MARK_EVERY, 1 << 20);
        assert_eq!(marks.contradicted(), None);
        pass(&marks, 0, MARK_EVERY, 2 * MARK_EVERY, 1 << 20);
        assert_eq!(marks.contradicted(), Some(2 * MARK_EVERY));
    }
}
