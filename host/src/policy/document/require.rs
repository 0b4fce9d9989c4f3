//! The section `require`.

use super::limits::bound_size;
use super::section::{Invalid, Item, Section, sited};
use crate::policy::{ChecksumName, HazardPattern, Require};

/// Sizes that a document may demand, both included: no disk has more.
const SIZES: (u64, u64) = (1, 1 << 60);

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
        max_size: bound_size(section, "max-size", SIZES)?.map(Item::sited),
        max_virtual_size: bound_size(section, "max-virtual-size", SIZES)?.map(Item::sited),
        encrypted_uploads: encrypted.filter(|item| item.value).map(|item| item.site),
    })
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
            ("max-virtual-size = \"10G\"", "expected a size like `64MiB`"),
        ] {
            let why = parsed(&format!("[require]\n{text}")).unwrap_err();
            assert!(why.message.contains(says) && why.line == 3, "expected `{says}` in `{why}`");
        }
        assert!(parsed("[require]\nencrypted-uploads = false").unwrap().require.encrypted_uploads.is_none());
    }
}
