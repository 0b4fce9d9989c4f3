//! Which format it is: the modules are asked in turn.

use crate::{foreign, iso9660, qcow2, raw};

/// The formats this probe can name.
pub const FORMATS: [&str; 3] = ["iso9660", "qcow2", "raw"];

/// Bytes of head that settle nearly every disk.
pub const FIRST_READ: usize = 64 * 1024;

/// The most head that any format needs: one qcow2 cluster of the largest legal size.
pub const MAX_HEAD: usize = 2 * 1024 * 1024;

/// How grave a hazard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Works, with something lost or at risk.
    Warning,
    /// Refused by default.
    Refuse,
}

/// Something that whoever runs the disk must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hazard {
    /// A stable name.
    pub code: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// One sentence with the bytes that prove it.
    pub message: String,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// One of [`FORMATS`].
    pub format: &'static str,
    /// Bytes as a guest machine would see them.
    pub virtual_size: Option<u64>,
    /// Hazards in the order found.
    pub hazards: Vec<Hazard>,
    /// Name and value.
    pub details: Vec<(&'static str, String)>,
}

/// The disk is of a known format and contradicts its specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

/// What a look at the head gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Settled.
    Verdict(Verdict),
    /// The first so many bytes are needed, at most [`MAX_HEAD`] and more than were shown.
    NeedHead(usize),
}

/// Looks at the first bytes of a disk of `size` bytes (none = unknown). `whole` says that `head` is all there is.
///
/// # Errors
/// [`Malformed`] with words for the user.
pub fn detect(head: &[u8], size: Option<u64>, whole: bool) -> Result<Answer, Malformed> {
    if head.len() < FIRST_READ && !whole {
        return Ok(Answer::NeedHead(FIRST_READ));
    }
    if qcow2::matches(head) {
        return Ok(with(qcow2::inspect(head, whole)?, ambiguities(head)));
    }
    let marks = foreign::hazards(head);
    if iso9660::matches(head) {
        return Ok(with(iso9660::inspect(head, size, whole)?, marks));
    }
    Ok(Answer::Verdict(raw::inspect(head, size, marks)))
}

/// Marks of other formats in a disk that is a qcow2 by its first bytes: who reads it as what is anybody's guess.
fn ambiguities(head: &[u8]) -> Vec<Hazard> {
    let iso = iso9660::matches(head).then_some((iso9660::MARK_OFFSET, iso9660::MARK, "ISO 9660"));
    // What stands at 0 is its own mark.
    let others = foreign::marks(head).filter(|(offset, _, _)| *offset > 0);
    let hazard = |(offset, mark, name): (usize, &[u8], &str)| Hazard {
        code: "format-ambiguous",
        severity: Severity::Refuse,
        message: format!(
            "`{}` at {offset:#x} is the mark of {name}, in a disk that is qcow2 at 0",
            mark.escape_ascii()
        ),
    };
    iso.into_iter().chain(others).map(hazard).collect()
}

/// An answer with further hazards, if it is a verdict.
fn with(answer: Answer, hazards: Vec<Hazard>) -> Answer {
    match answer {
        Answer::Verdict(mut verdict) => {
            verdict.hazards.extend(hazards);
            Answer::Verdict(verdict)
        }
        need => need,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_asked_for_before_anything_is_said() {
        assert_eq!(detect(&[0; 512], Some(1 << 30), false), Ok(Answer::NeedHead(FIRST_READ)));
    }

    #[test]
    fn what_is_nothing_else_is_raw() {
        let answer = detect(&[7; 600], Some(600), true).unwrap();
        let Answer::Verdict(verdict) = answer else { panic!("{answer:?}") };
        assert_eq!((verdict.format, verdict.virtual_size), ("raw", Some(1024)));
        assert!(verdict.hazards.is_empty());
    }

    #[test]
    fn a_second_mark_makes_a_qcow2_ambiguous_and_a_hybrid_iso_is_none() {
        let verdict = |head: &[u8]| match detect(head, Some(400 << 10), false).unwrap() {
            Answer::Verdict(verdict) => verdict,
            other => panic!("{other:?}"),
        };
        let mut both = qcow2::tests::sample();
        both[iso9660::MARK_OFFSET..iso9660::MARK_OFFSET + 5].copy_from_slice(iso9660::MARK);
        let found = verdict(&both);
        assert_eq!((found.format, found.hazards[0].code), ("qcow2", "format-ambiguous"));
        assert!(found.hazards[0].message.contains("`CD001` at 0x8001"), "{}", found.hazards[0].message);
        assert_eq!(found.hazards.len(), 1);
        let mut tar = qcow2::tests::sample();
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(verdict(&tar).hazards[0].code, "format-ambiguous");

        let mut vmdk = iso9660::tests::sample();
        vmdk[..4].copy_from_slice(b"KDMV");
        let found = verdict(&vmdk);
        assert_eq!((found.format, found.hazards[0].code), ("iso9660", "format-not-inspected"));
        let mut hybrid = iso9660::tests::sample();
        hybrid[510..512].copy_from_slice(&[0x55, 0xAA]);
        assert!(verdict(&hybrid).hazards.is_empty());
    }

    /// Whatever the bytes are, there is an answer, and one that leads on.
    fn answered(head: &[u8], what: &str) {
        let size = head.len() as u64;
        for (size, whole) in [(Some(size), true), (None, true), (Some(1 << 40), false), (None, false)] {
            match detect(head, size, whole) {
                Ok(Answer::NeedHead(need)) => {
                    assert!(!whole && need > head.len() && need <= MAX_HEAD, "{what}: {need} of {}", head.len());
                }
                Ok(Answer::Verdict(verdict)) => assert!(FORMATS.contains(&verdict.format), "{what}"),
                Err(Malformed(words)) => assert!(!words.is_empty(), "{what}"),
            }
        }
    }

    fn samples() -> [Vec<u8>; 3] {
        let (qcow2, iso) = (qcow2::tests::sample(), iso9660::tests::sample());
        let mut both = iso.clone();
        both[..1024].copy_from_slice(&qcow2[..1024]);
        [qcow2, iso, both]
    }

    #[test]
    fn no_truncation_panics() {
        for sample in samples() {
            for length in 0..=sample.len() {
                answered(&sample[..length], "truncated");
            }
        }
    }

    #[test]
    fn no_mutation_panics() {
        const SEED: u64 = 0x1BAD_CAFE;
        let mut state = SEED;
        let mut random = |most: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % most as u64) as usize
        };
        // Where the formats keep what they are read by.
        let places = [(0, 128), (0x8000, 0x8100), (0x8800, 0x8860), (0x9000, 0x9080), (0x9800, 0x9810), (0, 65_536)];
        for sample in samples() {
            for round in 0..20_000 {
                let mut head = sample.clone();
                for _ in 0..=random(4) {
                    let (from, to) = places[random(places.len())];
                    let at = from + random(to - from);
                    head[at] = match random(4) {
                        0 => 0,
                        1 => 0xFF,
                        2 => head[at] ^ (1 << random(8)),
                        _ => random(256) as u8,
                    };
                }
                if random(8) == 0 {
                    head.truncate(random(head.len()));
                }
                answered(&head, &format!("seed {SEED:#x}, round {round}"));
            }
        }
    }
}
