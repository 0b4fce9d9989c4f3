//! Sizes as they are typed: bytes, or a number with a binary unit.

use std::num::NonZeroU64;

/// Units and what they stand for (IEC 80000-13).
const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

/// `BYTES`, or a whole number followed by KiB, MiB, GiB or TiB.
///
/// # Errors
/// Words for the user. `10G` is refused: to some that is 10^10 bytes, to others 10 × 2^30.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let wrong = || "expected bytes, or a whole number with KiB, MiB, GiB or TiB behind it".to_owned();
    let number: u64 = match number.parse() {
        Ok(number) => number,
        Err(_) if number.is_empty() => return Err(wrong()),
        Err(_) => return Err("the number is too large".to_owned()),
    };
    if unit.is_empty() {
        return Ok(number);
    }
    let known = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, shift)| 1_u64 << shift);
    match known {
        Some(factor) => number.checked_mul(factor).ok_or_else(|| "the number is too large".to_owned()),
        None if matches!(unit, "K" | "k" | "M" | "G" | "T" | "KB" | "kB" | "MB" | "GB" | "TB") => {
            Err(format!("`{unit}` means different sizes to different programs: {}", wrong()))
        }
        None => Err(wrong()),
    }
}

/// Bytes per second, as [`bytes()`], at least one.
///
/// # Errors
/// As for [`bytes()`], and for none at all.
pub(super) fn per_second(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(bytes(text)?).ok_or_else(|| "at 0 bytes per second nothing would ever arrive".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_have_a_binary_unit() {
        for (text, size) in [("0", 0), ("4096", 4096), ("1KiB", 1024), ("10GiB", 10 << 30), ("2TiB", 2 << 40)] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        assert_eq!(bytes("18446744073709551615"), Ok(u64::MAX));
    }

    #[test]
    fn a_rate_is_a_size_but_never_nothing() {
        assert_eq!(per_second("10MiB").map(NonZeroU64::get), Ok(10 << 20));
        assert!(per_second("0").unwrap_err().contains("nothing would ever arrive"));
        assert!(per_second("10M").is_err());
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "GiB", "-1", "1.5GiB", "1 GiB", "1gib", "10GiBs", "0x10", "1_000", "ü"] {
            assert!(bytes(text).unwrap_err().contains("expected bytes"), "{text}");
        }
        for text in ["10G", "10GB", "1k"] {
            assert!(bytes(text).unwrap_err().contains("different programs"), "{text}");
        }
        for text in ["18446744073709551616", "18446744073709551615KiB", "16777216TiB"] {
            assert_eq!(bytes(text).unwrap_err(), "the number is too large", "{text}");
        }
    }
}
