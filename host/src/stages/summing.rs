//! The digest of content that a component fetches, over all the bodies that it comes in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use super::request::invalid;
use crate::error::{Code, Error, Result, Stage};
use crate::observe::Repeats;
use crate::oci::Digest;

/// The most contents of one component that may be half summed: a source reads one at a time.
const MAX_KEPT: usize = 4;

/// What was summed so far of contents that broke off.
#[derive(Clone, Default)]
pub(super) struct Sums {
    kept: Arc<Mutex<Vec<Sum>>>,
    /// Is told of contents that go on where they broke.
    pub(super) repeats: Arc<Repeats>,
}

struct Sum {
    digest: Digest,
    hasher: Sha256,
    at: u64,
    /// Whether the last body broke off, and none has gone on since.
    broke: bool,
}

/// A body that is summed as it is read. Dropping it keeps what was summed.
pub(super) struct Summing {
    /// None once it was compared.
    sum: Option<Sum>,
    to_end: bool,
    sums: Sums,
}

impl Sums {
    /// Begins to sum a body from the offset `from` of the content on, `to_end` or not.
    ///
    /// # Errors
    /// `source-invalid` if that is not where the last body ended.
    pub(super) fn begin(&self, digest: Digest, from: u64, to_end: bool) -> Result<Summing> {
        let mut kept = self.lock();
        let before = kept.iter().position(|sum| sum.digest == digest).map(|at| kept.swap_remove(at));
        drop(kept);
        let sum = match (from, before) {
            (0, _) => Sum { digest, hasher: Sha256::new(), at: 0, broke: false },
            (_, Some(sum)) if sum.at == from => sum,
            (_, before) => {
                let at = before.map_or(0, |sum| sum.at);
                return Err(invalid(format!("a request for {digest} from byte {from} on, of which {at} were read")));
            }
        };
        Ok(Summing { sum: Some(sum), to_end, sums: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sum>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Summing {
    /// The body begins at the content's start, whatever was asked for.
    pub(super) fn restart(&mut self) {
        if let Some(sum) = &mut self.sum {
            (sum.hasher, sum.at, sum.broke) = (Sha256::new(), 0, false);
        }
    }

    /// The body begins where the last one ended.
    pub(super) fn goes_on(&mut self) {
        if let Some(sum) = &mut self.sum
            && std::mem::take(&mut sum.broke)
        {
            self.sums.repeats.resumed();
        }
    }

    /// The body broke off.
    pub(super) const fn broke(&mut self) {
        if let Some(sum) = &mut self.sum {
            sum.broke = true;
        }
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, chunk: &[u8]) {
        if let Some(sum) = &mut self.sum {
            sum.hasher.update(chunk);
            sum.at = sum.at.saturating_add(chunk.len() as u64);
        }
    }

    /// The body has ended well.
    ///
    /// # Errors
    /// `checksum-mismatch` if that is the content's end, and it has another digest.
    pub(super) fn end(mut self) -> Result<()> {
        if !self.to_end {
            return Ok(());
        }
        let Some(Sum { digest, hasher, at, .. }) = self.sum.take() else { return Ok(()) };
        let got = Digest::from_hash(hasher.finalize().into());
        if got == digest {
            return Ok(());
        }
        let message = format!("what came as {digest} is {at} bytes with the digest {got}, expected {digest}");
        Err(Error::new(Code::ChecksumMismatch, Stage::Source, message))
    }
}

impl Drop for Summing {
    fn drop(&mut self) {
        let Some(sum) = self.sum.take().filter(|sum| sum.at > 0) else { return };
        let mut kept = self.sums.lock();
        if kept.len() >= MAX_KEPT {
            kept.remove(0);
        }
        kept.push(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(result: Result<impl Sized>) -> Option<Code> {
        result.map(drop).err().map(|error| error.code())
    }

    #[test]
    fn bodies_in_a_row_have_the_digest_or_the_last_one_fails() {
        for (content, expected) in [(&b"abcdef"[..], None), (b"abcdeg", Some(Code::ChecksumMismatch))] {
            let (sums, digest) = (Sums::default(), Digest::of(b"abcdef"));
            let (first, rest) = content.split_at(2);
            let mut summing = sums.begin(digest, 0, true).unwrap();
            summing.take(first);
            drop(summing);
            // What is no part of it does not count.
            drop(sums.begin(digest, 2, true).unwrap());
            let mut summing = sums.begin(digest, 2, false).unwrap();
            summing.take(&rest[..1]);
            summing.end().unwrap();
            let mut summing = sums.begin(digest, 3, true).unwrap();
            summing.take(&rest[1..]);
            assert_eq!(code(summing.end()), expected);
        }
    }

    #[test]
    fn a_body_goes_on_where_the_last_one_ended_or_begins_again() {
        let (sums, digest) = (Sums::default(), Digest::of(b"ab"));
        assert_eq!(code(sums.begin(digest, 1, true)), Some(Code::SourceInvalid));
        let mut summing = sums.begin(digest, 0, true).unwrap();
        summing.take(b"x");
        drop(summing);
        assert_eq!(code(sums.begin(digest, 2, true)), Some(Code::SourceInvalid));
        assert_eq!(code(sums.begin(digest, 1, true)), Some(Code::SourceInvalid), "and that was its end");
        let mut summing = sums.begin(digest, 0, true).unwrap();
        summing.take(b"x");
        drop(summing);
        let mut summing = sums.begin(digest, 1, true).unwrap();
        summing.restart();
        summing.take(b"ab");
        assert_eq!(code(summing.end()), None);
    }

    #[test]
    fn what_goes_on_where_it_broke_is_counted_once() {
        let (sums, digest) = (Sums::default(), Digest::of(b"abc"));
        let mut summing = sums.begin(digest, 0, true).unwrap();
        summing.take(b"a");
        summing.broke();
        drop(summing);
        // An answer that never came, and then one.
        drop(sums.begin(digest, 1, true).unwrap());
        assert_eq!(sums.repeats.resumes(), 0);
        let mut summing = sums.begin(digest, 1, false).unwrap();
        summing.goes_on();
        summing.take(b"b");
        summing.end().unwrap();
        assert_eq!(sums.repeats.resumes(), 1);
        // Nothing broke here.
        let mut summing = sums.begin(digest, 2, true).unwrap();
        summing.goes_on();
        summing.take(b"c");
        summing.end().unwrap();
        assert_eq!(sums.repeats.resumes(), 1);
    }

    #[test]
    fn only_a_few_are_kept() {
        let sums = Sums::default();
        for content in 0..=MAX_KEPT {
            let mut summing = sums.begin(Digest::of(&[content as u8]), 0, true).unwrap();
            summing.take(b"x");
        }
        assert_eq!(sums.lock().len(), MAX_KEPT);
        assert_eq!(code(sums.begin(Digest::of(&[0]), 1, true)), Some(Code::SourceInvalid));
        assert_eq!(code(sums.begin(Digest::of(&[1]), 1, true)), None);
    }
}
