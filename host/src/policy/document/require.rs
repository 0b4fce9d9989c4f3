//! The section `require`.

use super::limits::bound_size;
use super::section::{Invalid, Item, Section, sited};
use crate::policy::{ChecksumName, HazardPattern, ProbeName, Require};

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
    let accepted_hazards = section.list::<ProbeName>("accepted-hazards")?;
    let refused = |code: &ProbeName| {
        refused_hazards.iter().any(|item| match &item.value {
            HazardPattern::Any => true,
            HazardPattern::Code(refused) => refused == code,
        })
    };
    if let Some(item) = accepted_hazards.iter().find(|item| refused(&item.value)) {
        let message =
            format!("`{}` is in `require.accepted-hazards`, and refused by `require.refused-hazards`", item.value);
        return Err(section.invalid(&item.span, message));
    }
    let encrypted = section.boolean("encrypted-uploads")?;
    Ok(Require {
        checksum: sited(section.names("checksum", ChecksumName::ALL, ChecksumName::as_str)?),
        formats: sited(section.list("formats")?),
        refused_hazards: sited(refused_hazards),
        accepted_hazards: sited(accepted_hazards),
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
            ("accepted-hazards = [\"*\"]", "is not 1 to 64 characters"),
            (
                "accepted-hazards = [\"b\", \"a\"]\nrefused-hazards = [\"a\"]",
                "`a` is in `require.accepted-hazards`, and refused",
            ),
            (
                "accepted-hazards = [\"a\"]\nrefused-hazards = [\"*\"]",
                "`a` is in `require.accepted-hazards`, and refused",
            ),
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
