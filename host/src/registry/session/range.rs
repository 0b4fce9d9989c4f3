//! What the Range field of a registry's answer says it has stored, in all forms that are met.
//!
//! It is believed in the answer to a status GET and in a 416 only: behind a 2xx, zot tells the length of that request alone
//! and ECR sticks at the first chunk.

/// How much of a blob a registry says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// So many bytes, from the first.
    Bytes(u64),
    /// Nothing or one byte: `0-0` is written for both.
    AtMostOne,
    /// It does not say, or not in a way that anybody could rely on.
    Unsaid,
}

/// Reads the field. `0-N` names the last byte (distribution-spec "Pushing a blob in chunks"), `bytes=0-N` the number of
/// bytes: Quay alone writes that form, and counts so. Were it the last byte for somebody else, one byte would be sent again,
/// which a registry that checks offsets refuses, and of which the digest tells with any other.
#[must_use]
pub fn stored(range: Option<&str>) -> Stored {
    let Some(text) = range.map(str::trim) else { return Stored::Unsaid };
    let (text, counts) = match text.strip_prefix("bytes=") {
        Some(text) => (text, true),
        None => (text, false),
    };
    match text.strip_prefix("0-") {
        // Quay and zot of an empty upload.
        Some("-1") => Stored::Bytes(0),
        Some(last) if last.bytes().all(|byte| byte.is_ascii_digit()) => match last.parse::<u64>() {
            Ok(0) => Stored::AtMostOne,
            Ok(last) if counts => Stored::Bytes(last),
            Ok(last) => last.checked_add(1).map_or(Stored::Unsaid, Stored::Bytes),
            Err(_) => Stored::Unsaid,
        },
        _ => Stored::Unsaid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_is_met_is_read() {
        for (text, expected) in [
            // distribution 2.8 and 3 after 1 MiB.
            ("0-1048575", Stored::Bytes(1_048_576)),
            (" 0-1 ", Stored::Bytes(2)),
            // distribution 3: nothing or one byte.
            ("0-0", Stored::AtMostOne),
            // Quay, status GET: the number of bytes.
            ("bytes=0-1048576", Stored::Bytes(1_048_576)),
            ("bytes=0-0", Stored::AtMostOne),
            // zot and Quay, nothing yet.
            ("0--1", Stored::Bytes(0)),
            ("bytes=0--1", Stored::Bytes(0)),
        ] {
            assert_eq!(stored(Some(text)), expected, "{text}");
        }
    }

    #[test]
    fn nothing_is_read_into_another_form() {
        for text in
            ["", "0", "0-", "1-5", "0-5-6", "0-+5", "bytes 0-9/10", "0--2", "-1", "0-18446744073709551615", "0-1e9"]
        {
            assert_eq!(stored(Some(text)), Stored::Unsaid, "{text}");
        }
        assert_eq!(stored(None), Stored::Unsaid);
    }
}
