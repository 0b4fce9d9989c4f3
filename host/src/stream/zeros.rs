//! Zeros that nobody has to make.

use bytes::Bytes;

/// As many as are given out at once.
const LENGTH: usize = 256 * 1024;
static ZEROS: [u8; LENGTH] = [0; LENGTH];

/// Up to `most` zeros, at least one if that is not 0.
#[must_use]
pub fn zeros(most: u64) -> Bytes {
    let now = usize::try_from(most).unwrap_or(LENGTH).min(LENGTH);
    Bytes::from_static(&ZEROS).slice(..now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_the_same_ones_every_time() {
        let (some, many) = (zeros(5), zeros(u64::MAX));
        assert_eq!((&some[..], many.len()), (&[0; 5][..], LENGTH));
        assert_eq!(some.as_ptr(), many.as_ptr());
        assert!(zeros(0).is_empty() && many.iter().all(|byte| *byte == 0));
    }
}
