//! The layer as a flow: what the framing says stands around the payload, and the payload.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::{Chunks, Flow, zeros};
use crate::error::{Code, Error, Result, Stage};

/// The most segments a layer may have.
pub const MAX_SEGMENTS: usize = 64;
/// The most bytes of literals in a layer.
pub const MAX_LITERAL_BYTES: usize = 1 << 20;
/// The most zero bytes in a layer.
pub const MAX_ZERO_BYTES: u64 = 1 << 20;

/// A piece of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// These bytes.
    Literal(Bytes),
    /// That many zero bytes.
    Zeros(u64),
    /// The payload, all of it.
    Payload,
}

/// A layer before its first byte flows: checked, of known length.
#[derive(Clone, Debug)]
pub struct Layer {
    segments: Vec<Segment>,
    payload_bytes: u64,
    total_bytes: u64,
}

impl Layer {
    /// Checks the segments for a payload of that many bytes.
    ///
    /// # Errors
    /// With what is wrong: too many segments, literals or zeros, not exactly one payload, a sum out of range.
    pub fn new(segments: Vec<Segment>, payload_bytes: u64) -> Result<Self, String> {
        if segments.len() > MAX_SEGMENTS {
            return Err(format!("{} segments, expected at most {MAX_SEGMENTS}", segments.len()));
        }
        let (mut literals, mut zeros, mut payloads) = (0_usize, 0_u64, 0_u32);
        for segment in &segments {
            match segment {
                Segment::Literal(bytes) => literals = literals.saturating_add(bytes.len()),
                Segment::Zeros(count) => zeros = zeros.saturating_add(*count),
                Segment::Payload => payloads += 1,
            }
        }
        if literals > MAX_LITERAL_BYTES {
            return Err(format!("{literals} bytes of literals, expected at most {MAX_LITERAL_BYTES}"));
        }
        if zeros > MAX_ZERO_BYTES {
            return Err(format!("{zeros} zero bytes, expected at most {MAX_ZERO_BYTES}"));
        }
        if payloads != 1 {
            return Err(format!("{payloads} payloads, expected exactly one"));
        }
        let total_bytes = payload_bytes
            .checked_add(literals as u64)
            .and_then(|sum| sum.checked_add(zeros))
            .filter(|sum| i64::try_from(*sum).is_ok())
            .ok_or_else(|| "a sum that does not fit in 63 bits".to_owned())?;
        Ok(Self { segments, payload_bytes, total_bytes })
    }

    /// The exact length of the layer.
    #[must_use]
    pub const fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Where in the layer the payload begins.
    #[must_use]
    pub fn payload_at(&self) -> u64 {
        let in_front = self.segments.iter().take_while(|segment| **segment != Segment::Payload);
        let length = |segment: &Segment| match segment {
            Segment::Literal(bytes) => bytes.len() as u64,
            Segment::Zeros(count) => *count,
            Segment::Payload => 0,
        };
        in_front.map(length).sum()
    }

    /// What is left of the layer from `offset` on; none behind its end.
    #[must_use]
    pub fn from(&self, offset: u64) -> Option<Rest> {
        if offset > self.total_bytes {
            return None;
        }
        let mut skip = offset;
        let mut rest = Rest { segments: VecDeque::new(), payload_from: 0, payload_bytes: 0 };
        for segment in &self.segments {
            let length = match segment {
                Segment::Literal(bytes) => bytes.len() as u64,
                Segment::Zeros(count) => *count,
                Segment::Payload => self.payload_bytes,
            };
            let gone = skip.min(length);
            skip -= gone;
            if gone == length {
                continue;
            }
            rest.segments.push_back(match segment {
                Segment::Literal(bytes) => Segment::Literal(bytes.slice(usize::try_from(gone).ok()?..)),
                Segment::Zeros(count) => Segment::Zeros(count - gone),
                Segment::Payload => {
                    (rest.payload_from, rest.payload_bytes) = (gone, length - gone);
                    Segment::Payload
                }
            });
        }
        Some(rest)
    }
}

/// What is left of a layer from some offset on.
#[derive(Clone, Debug)]
pub struct Rest {
    segments: VecDeque<Segment>,
    payload_from: u64,
    payload_bytes: u64,
}

impl Rest {
    /// Where in the payload it begins.
    #[must_use]
    pub const fn payload_from(&self) -> u64 {
        self.payload_from
    }

    /// Bytes of the payload that belong to it; perhaps none.
    #[must_use]
    pub const fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// It as a flow. `payload` is as long as it says; none if there is none of it.
    #[must_use]
    pub fn framed(self, payload: Option<Flow>) -> Flow {
        Flow::through(Framed { segments: self.segments, payload, expected: self.payload_bytes, got: 0 })
    }
}

/// The layer as a flow around `payload`, which must have exactly the length the layer was made for.
#[must_use]
pub fn framed(layer: &Layer, payload: Flow) -> Flow {
    Flow::through(Framed {
        segments: layer.segments.iter().cloned().collect(),
        payload: Some(payload),
        expected: layer.payload_bytes,
        got: 0,
    })
}

struct Framed {
    segments: VecDeque<Segment>,
    payload: Option<Flow>,
    expected: u64,
    got: u64,
}

impl Chunks for Framed {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            match self.segments.front_mut() {
                None => return Poll::Ready(None),
                Some(Segment::Literal(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    self.segments.pop_front();
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Some(Segment::Zeros(0)) => drop(self.segments.pop_front()),
                Some(Segment::Zeros(left)) => {
                    let now = zeros(*left);
                    *left -= now.len() as u64;
                    return Poll::Ready(Some(Ok(now)));
                }
                Some(Segment::Payload) => {
                    match self.payload.as_mut().map_or(Poll::Ready(None), |payload| payload.poll_next(cx)) {
                        Poll::Ready(None) if self.got == self.expected => drop(self.segments.pop_front()),
                        Poll::Ready(None) => return Poll::Ready(Some(Err(self.mismatch("")))),
                        Poll::Ready(Some(Ok(chunk))) => {
                            self.got = self.got.saturating_add(chunk.len() as u64);
                            if self.got > self.expected {
                                return Poll::Ready(Some(Err(self.mismatch("at least "))));
                            }
                            return Poll::Ready(Some(Ok(chunk)));
                        }
                        other => return other,
                    }
                }
            }
        }
    }
}

impl Framed {
    fn mismatch(&self, at_least: &str) -> Error {
        Error::new(
            Code::SourceLengthMismatch,
            Stage::Source,
            format!("the source sent {at_least}{} bytes, expected {} as announced", self.got, self.expected),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::tests::{collect, flow};
    use super::*;

    fn literal(bytes: &'static [u8]) -> Segment {
        Segment::Literal(Bytes::from_static(bytes))
    }

    #[tokio::test]
    async fn the_segments_stand_around_the_payload() {
        let layer =
            Layer::new(vec![literal(b"<"), literal(b""), Segment::Payload, Segment::Zeros(100_000)], 3).unwrap();
        let bytes = collect(framed(&layer, flow(&[b"a", b"bc"]))).await.unwrap();
        assert_eq!(bytes.len() as u64, layer.total_bytes());
        assert_eq!((&bytes[..5], layer.payload_at()), (b"<abc\0".as_slice(), 1));
        assert!(bytes[4..].iter().all(|byte| *byte == 0));
    }

    #[tokio::test]
    async fn a_payload_of_another_length_is_refused() {
        let layer = Layer::new(vec![Segment::Payload], 3).unwrap();
        let cases: [&[&[u8]]; 3] = [&[b"ab"], &[b"ab", b"cd"], &[]];
        for chunks in cases {
            let error = collect(framed(&layer, flow(chunks))).await.unwrap_err();
            assert_eq!(error.code(), Code::SourceLengthMismatch);
        }
    }

    #[test]
    fn segments_out_of_bounds_are_refused() {
        let zeros = |count| vec![Segment::Payload, Segment::Zeros(count)];
        assert!(Layer::new(vec![], 0).is_err());
        assert!(Layer::new(vec![Segment::Payload, Segment::Payload], 0).is_err());
        assert!(Layer::new([vec![Segment::Payload], vec![literal(b""); 64]].concat(), 0).is_err());
        assert!(
            Layer::new(vec![Segment::Payload, Segment::Literal(vec![0; MAX_LITERAL_BYTES + 1].into())], 0).is_err()
        );
        assert!(Layer::new(zeros(MAX_ZERO_BYTES + 1), 0).is_err());
        assert!(Layer::new(zeros(u64::MAX), 1).is_err());
        assert!(Layer::new(zeros(1), i64::MAX as u64).is_err());
        assert!(Layer::new(zeros(MAX_ZERO_BYTES), 1 << 40).is_ok());
    }
}
