//! What was answered by range, until the flow has confirmed it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::{Code, Error, Result, Stage};

/// Pieces of the disk that do not overlap, by offset.
#[derive(Default)]
pub(super) struct Kept(BTreeMap<u64, Vec<u8>>);

impl Kept {
    /// What of a range is not here, in order.
    pub(super) fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        for (start, bytes) in self.reaching(&range) {
            if at < start {
                gaps.push(at..start.min(range.end));
            }
            at = at.max(start + bytes.len() as u64);
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }

    /// Takes the bytes of a gap.
    pub(super) fn insert(&mut self, offset: u64, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.0.insert(offset, bytes);
        }
    }

    /// The bytes of a range up to the first gap.
    pub(super) fn copy(&self, range: Range<u64>) -> Vec<u8> {
        let mut copy = Vec::new();
        let mut at = range.start;
        for (start, bytes) in self.reaching(&range) {
            if start > at {
                break;
            }
            let (from, to) = (index(at - start), index(range.end - start).min(bytes.len()));
            copy.extend_from_slice(bytes.get(from..to).unwrap_or_default());
            at = start + bytes.len() as u64;
        }
        copy
    }

    /// Compares what flows at `position` with what was answered there, and forgets what has been compared.
    ///
    /// # Errors
    /// `source-inconsistent` at the first byte that differs.
    pub(super) fn compare(&mut self, position: u64, chunk: &[u8]) -> Result<()> {
        let end = position.saturating_add(chunk.len() as u64);
        while let Some(piece) = self.0.first_entry() {
            let start = *piece.key();
            if start >= end {
                break;
            }
            // No piece begins before the position: what lies before it has been compared and cut off.
            let flows = chunk.get(index(start.saturating_sub(position))..).unwrap_or_default();
            let mut bytes = piece.remove();
            let common = bytes.len().min(flows.len());
            let differs = bytes.iter().zip(flows).position(|(answered, flows)| answered != flows);
            if let Some(at) = differs {
                return Err(differ(start + at as u64, bytes.get(at), flows.get(at)));
            }
            let rest = bytes.split_off(common);
            self.insert(start + common as u64, rest);
        }
        Ok(())
    }

    /// At the end of the flow, which must not come before the end of what was answered.
    ///
    /// # Errors
    /// `source-inconsistent`.
    pub(super) fn end(&self, position: u64) -> Result<()> {
        match self.0.first_key_value() {
            None => Ok(()),
            Some((start, bytes)) => {
                let end = start + bytes.len() as u64;
                Err(inconsistent(format!(
                    "the source answered a range of its bytes up to {end}, and its stream ended after {position}"
                )))
            }
        }
    }

    /// The pieces that overlap a range, in order.
    fn reaching(&self, range: &Range<u64>) -> impl Iterator<Item = (u64, &[u8])> {
        let first = self.0.range(..=range.start).next_back().map_or(range.start, |(start, _)| *start);
        let reaches = range.start;
        self.0
            .range(first..range.end.max(first))
            .map(|(start, bytes)| (*start, bytes.as_slice()))
            .filter(move |(start, bytes)| start + bytes.len() as u64 > reaches)
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn differ(offset: u64, answered: Option<&u8>, flows: Option<&u8>) -> Error {
    let shown = |byte: Option<&u8>| byte.map_or_else(String::new, |byte| format!(" {byte:#04x}"));
    inconsistent(format!(
        "the source streams other bytes than it answered by range: at {offset} it answered{} and streamed{}",
        shown(answered),
        shown(flows)
    ))
}

fn inconsistent(message: String) -> Error {
    Error::new(Code::SourceInconsistent, Stage::Source, message)
        .hint("different contents at one location come from a cache or a mirror that is out of date, or from an attack")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pieces: &[(u64, &[u8])]) -> Kept {
        let mut kept = Kept::default();
        for (offset, bytes) in pieces {
            kept.insert(*offset, bytes.to_vec());
        }
        kept
    }

    #[test]
    fn gaps_are_what_is_not_there() {
        let kept = kept(&[(10, b"abcde"), (20, b"xyz")]);
        type Case<'a> = (Range<u64>, &'a [(u64, u64)]);
        let cases: [Case; 10] = [
            (0..5, &[(0, 5)]),
            (0..10, &[(0, 10)]),
            (0..12, &[(0, 10)]),
            (10..15, &[]),
            (11..14, &[]),
            (12..18, &[(15, 18)]),
            (15..20, &[(15, 20)]),
            (0..30, &[(0, 10), (15, 20), (23, 30)]),
            (23..30, &[(23, 30)]),
            (14..21, &[(15, 20)]),
        ];
        for (range, gaps) in cases {
            let found: Vec<_> = kept.gaps(range.clone()).iter().map(|gap| (gap.start, gap.end)).collect();
            assert_eq!(found, gaps, "{range:?}");
        }
    }

    #[test]
    fn what_is_there_is_copied_across_pieces() {
        let kept = kept(&[(10, b"abcde"), (15, b"fgh"), (20, b"xyz")]);
        assert_eq!(kept.copy(12..17), b"cdefg");
        assert_eq!(kept.copy(10..30), b"abcdefgh", "up to the first gap");
        assert_eq!(kept.copy(21..22), b"y");
        assert_eq!(kept.copy(0..30), b"");
    }

    #[test]
    fn what_flows_is_compared_however_it_is_split() {
        let flow: Vec<u8> = (0..200).collect();
        for chunk in [1, 3, 50, 199, 200] {
            let pieces: [(u64, &[u8]); 4] =
                [(0, &flow[..10]), (10, &flow[10..11]), (57, &flow[57..141]), (199, &flow[199..])];
            let mut kept = kept(&pieces);
            for (at, chunk) in flow.chunks(chunk).enumerate().map(|(n, part)| ((n * chunk) as u64, part)) {
                kept.compare(at, chunk).unwrap();
            }
            assert!(kept.0.is_empty(), "{chunk}");
            kept.end(200).unwrap();
        }
    }

    #[test]
    fn every_byte_that_differs_is_found() {
        let flow: Vec<u8> = (0..200).collect();
        for at in [57, 58, 100, 140] {
            for chunk in [1, 3, 58, 200] {
                let mut kept = kept(&[(5, &flow[5..6]), (57, &flow[57..141])]);
                let mut other = flow.clone();
                other[at] ^= 1;
                let mut chunks = other.chunks(chunk).enumerate();
                let error = chunks.find_map(|(n, part)| kept.compare((n * chunk) as u64, part).err()).unwrap();
                assert_eq!(error.code(), Code::SourceInconsistent);
                assert!(error.to_string().contains(&format!(": at {at} it answered")), "{error}");
            }
        }
    }

    #[test]
    fn a_flow_that_ends_before_what_was_answered_contradicts_it() {
        let mut kept = kept(&[(10, b"abcde")]);
        kept.compare(0, b"0123456789abc").unwrap();
        let error = kept.end(13).unwrap_err();
        assert_eq!(error.code(), Code::SourceInconsistent);
        assert!(error.to_string().contains("up to 15, and its stream ended after 13"), "{error}");
    }
}
