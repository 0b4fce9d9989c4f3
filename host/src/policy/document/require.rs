//! The section `require`.

use std::ops::Range;

use super::limits::{shown_size, size};
use super::section::{Invalid, Item, Section};
use crate::policy::{ChecksumName, HazardPattern, Require, Sited};

/// Sizes that a document may demand, both included: no disk has more.
const SIZES: Range<u64> = 1..(1 << 60) + 1;

pub(super) fn require(section: &Section<'_>) -> Result<Require, Invalid> {
    let refused_hazards = section.list::<HazardPattern>("refused-hazards")?;
    if let (Some(_), [_, another, ..]) =
        (refused_hazards.iter().find(|item| item.value == HazardPattern::Any), refused_hazards.as_slice())
    {
        let message = "`require.refused-hazards` has `*`, which is every hazard, and others beside it";
        return Err(section.invalid(&another.span, message));
    }
    let encrypted = section.boolean("encrypted-uploads")?;
    Ok(Require {
        checksum: sited(section.names("checksum", ChecksumName::ALL, ChecksumName::as_str)?),
        formats: sited(section.list("formats")?),
        refused_hazards: sited(refused_hazards),
        max_size: bytes(section, "max-size")?,
        max_virtual_size: bytes(section, "max-virtual-size")?,
        encrypted_uploads: encrypted.filter(|item| item.value).map(|item| item.site),
    })
}

fn bytes(section: &Section<'_>, name: &str) -> Result<Option<Sited<u64>>, Invalid> {
    let Some(Item { value: text, site, span }) = section.string(name)? else { return Ok(None) };
    let invalid =
        |expected: String| section.invalid(&span, format!("`require.{name}` is `{text}`, expected {expected}"));
    let bytes = size(text).ok_or_else(|| invalid("a size like `10GiB`".to_owned()))?;
    if !SIZES.contains(&bytes) {
        let most = shown_size(SIZES.end.saturating_sub(1));
        return Err(invalid(format!("from {} to {most}", SIZES.start)));
    }
    Ok(Some(Sited::new(bytes, site)))
}

fn sited<T>(items: Vec<Item<T>>) -> Vec<Sited<T>> {
    items.into_iter().map(Item::sited).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::parsed;

    #[test]
    fn demands_that_nobody_could_meet_are_refused() {
        for (text, says) in [
            ("checksum = [\"crc32\"]", "longshore has: `md5`, `sha1`"),
            ("formats = [\"QCOW2\"]", "is not 1 to 64 characters"),
            ("refused-hazards = [\"*\", \"a\"]", "and others beside it"),
            ("max-size = \"0\"", "expected from 1 to 1048576TiB"),
            ("max-size = \"1048577TiB\"", "expected from 1 to 1048576TiB"),
            ("max-virtual-size = \"10G\"", "expected a size like `10GiB`"),
        ] {
            let why = parsed(&format!("[require]\n{text}")).unwrap_err();
            assert!(why.message.contains(says) && why.line == 3, "expected `{says}` in `{why}`");
        }
        assert!(parsed("[require]\nencrypted-uploads = false").unwrap().require.encrypted_uploads.is_none());
    }
}
