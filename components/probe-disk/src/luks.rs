//! LUKS 1 ("LUKS On-Disk Format Specification" 1.2, figure 1) and 2: big-endian, the keys and the ciphertext in the same file.

mod v2;

use crate::detect::Mark;
use crate::fields::Fields;
use crate::view::Stop;
use crate::{Malformed, Verdict, View};

const MAGIC: &[u8] = b"LUKS\xba\xbe";
const V1_HEADER: u64 = 592;

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, MAGIC, "LUKS")
}

#[cfg(any(test, feature = "samples"))]
pub(crate) use v2::seal;

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let fields = Fields::new("luks", "header", 0, view.at(0, V1_HEADER)?);
    let version = fields.be16(6)?;
    fields.check("version", 6, u64::from(version), 1, 2)?;
    let mut verdict = Verdict::new("luks", None);
    verdict.detail("version", version);
    verdict.warn(
        "luks-encrypted",
        format!("encrypted as a whole: LUKS version {version} at 6; no machine reads it without the key"),
    );
    let payload = if version == 1 { v1(&fields, &mut verdict)? } else { v2::payload(view, &mut verdict)? };
    let end = payload.end.max(payload.rest.unwrap_or_default());
    if view.ends_before(end) {
        verdict.refuse("luks-truncated", format!("the payload goes to {end}, behind the end of the file"));
    }
    let rest = match payload.rest {
        Some(from) => view.size().and_then(|size| size.checked_sub(from)),
        None => Some(0),
    };
    let size = rest.and_then(|rest| rest.checked_add(payload.length));
    verdict.virtual_size = size.filter(|_| payload.is_all_content);
    Ok(verdict)
}

/// Where the ciphertext lies.
struct Payload {
    /// Bytes in segments that say their size.
    length: u64,
    /// Where the last of those ends.
    end: u64,
    /// Where the one begins that goes to the end of the file.
    rest: Option<u64>,
    /// Whether bytes of it are plaintext of the disk: not where checksums lie between them.
    is_all_content: bool,
}

fn v1(fields: &Fields<'_>, verdict: &mut Verdict) -> Result<Payload, Malformed> {
    // The last key slot is there too.
    fields.bytes(0, V1_HEADER as usize)?;
    let sectors = u64::from(fields.be32(104)?);
    let cipher = fields.bytes(8, 32)?.split(|byte| *byte == 0).next().unwrap_or_default();
    verdict.detail("cipher", cipher.escape_ascii());
    fields.check("key-bytes", 108, u64::from(fields.be32(108)?), 1, 512)?;
    if sectors == 0 {
        verdict.refuse("luks-detached", "a header without its payload: payload-offset at 104 is 0");
    }
    Ok(Payload { length: 0, end: 0, rest: Some(sectors * 512), is_all_content: true })
}

#[cfg(test)]
mod tests {
    use crate::samples::{luks2_of, settled};
    use crate::{Severity, Verdict};

    fn segment(offset: &str, size: &str, more: &str) -> String {
        format!(r#"{{"type":"crypt","offset":"{offset}","size":"{size}","iv_tweak":"0"{more}}}"#)
    }

    fn of(segments: &[String]) -> Verdict {
        let numbered: Vec<_> =
            segments.iter().enumerate().map(|(number, segment)| format!(r#""{number}":{segment}"#)).collect();
        settled(&luks2_of(&numbered.join(","))).unwrap()
    }

    fn refusals(verdict: &Verdict) -> Vec<&str> {
        let grave = verdict.hazards.iter().filter(|hazard| hazard.severity == Severity::Refuse);
        grave.map(|hazard| hazard.code).collect()
    }

    #[test]
    fn a_backup_of_a_segment_does_not_count() {
        let backup = |name| segment("1048576", "524288", &format!(r#","flags":["backup-{name}"]"#));
        let verdict = of(&[segment("1048576", "524288", ""), backup("previous"), backup("final")]);
        assert_eq!((verdict.virtual_size, refusals(&verdict)), (Some(524_288), vec![]));
    }

    #[test]
    fn a_reencryption_that_is_under_way_is_a_hazard_with_a_size() {
        let under_way = [
            segment("1048576", "524288", r#","flags":["in-reencryption"]"#),
            segment("1572864", "dynamic", ""),
            segment("1048576", "dynamic", r#","flags":["backup-previous"]"#),
            segment("1048576", "dynamic", r#","flags":["backup-final"]"#),
        ];
        let verdict = of(&under_way);
        assert_eq!((verdict.virtual_size, refusals(&verdict)), (Some(1 << 20), vec!["luks-reencrypting"]));
    }

    #[test]
    fn a_segment_with_integrity_has_no_size_that_is_known() {
        let verdict = of(&[segment("1048576", "dynamic", r#","integrity":{"type":"hmac(sha256)"}"#)]);
        assert_eq!((verdict.virtual_size, refusals(&verdict)), (None, vec![]));
        assert!(verdict.details.contains(&("integrity", "yes".to_owned())));
    }

    #[test]
    fn two_segments_that_both_go_to_the_end_are_malformed() {
        let segments = [segment("1048576", "dynamic", ""), segment("1572864", "dynamic", "")];
        let numbered = format!(r#""0":{},"1":{}"#, segments[0], segments[1]);
        assert!(settled(&luks2_of(&numbered)).unwrap_err().0.contains("dynamic"));
    }

    #[test]
    fn either_header_is_held_against_its_checksum() {
        let good = luks2_of(&format!(r#""0":{}"#, segment("1048576", "dynamic", "")));
        let codes = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut image = good.clone();
            change(&mut image);
            let verdict = settled(&image).unwrap();
            verdict.hazards.into_iter().map(|hazard| (hazard.code, hazard.severity)).skip(1).collect::<Vec<_>>()
        };
        assert_eq!(codes(&|_| {}), []);
        assert_eq!(codes(&|i| i[30] ^= 1), [("luks-header", Severity::Refuse)]);
        assert_eq!(codes(&|i| i[16_000] ^= 1), [("luks-header", Severity::Refuse)], "in the JSON area");
        assert_eq!(codes(&|i| i[16_384 + 30] ^= 1), [("luks-second-header", Severity::Warning)]);
        assert_eq!(codes(&|i| i[16_384] = b'X'), [("luks-second-header", Severity::Warning)]);
        assert_eq!(codes(&|i| i[72..75].copy_from_slice(b"md5")), [("luks-header", Severity::Refuse)]);
        let newer = |i: &mut Vec<u8>| {
            i[16_384 + 23] = 9;
            super::seal(&mut i[16_384..32_768]);
        };
        assert_eq!(codes(&newer), [("luks-header", Severity::Refuse)], "the second one is newer, and counts");
    }
}
