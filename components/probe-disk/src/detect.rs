//! Which format it is: the modules are asked in turn.

use crate::{foreign, qcow2, raw};

/// The formats this probe can name.
pub const FORMATS: [&str; 2] = ["qcow2", "raw"];

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
        return qcow2::inspect(head, whole);
    }
    Ok(Answer::Verdict(raw::inspect(head, size, foreign::hazards(head))))
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
}
