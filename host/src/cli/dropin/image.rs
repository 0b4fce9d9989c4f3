//! What an image of the replaced programs is like.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::{env, plan};
use super::destination::Destination;
use super::{SPOOL, usage};
use crate::error::{Error, Result, Stage};
use crate::oci::{MediaTypes, Platform, Wording};
use crate::pipeline::{
    Checksum, Choice, Chosen, Filters, ImageWishes, Input, Plan, SourceConnections, random, source_for,
};
use crate::policy::Policy;

/// As whom guests run where these images are used.
const OWNER: (u32, u32) = (64535, 64535);
const AUTHOR: &str = "DVCR client";
const COMMENT: &str = "streamed from the datasource";
/// What `qemu-img` and `file` call what our probe calls otherwise.
const FORMATS: &[(&str, &str)] = &[("iso9660", "iso"), ("udf", "iso")];

/// The import of that disk.
pub(super) fn plan(
    input: Input,
    name: Option<String>,
    destination: Destination,
    checksums: Vec<Checksum>,
    policy: Policy,
) -> Result<Plan> {
    let scheme = input.source.scheme();
    let source = source_for(scheme).ok_or_else(|| usage(format!("nobody opens `{scheme}` locations")))?;
    let built_in = |name: &str| Choice::BuiltIn(name.to_owned());
    Ok(Plan {
        disk_size: None,
        connections: SourceConnections::ONE,
        limit: None,
        spool: None,
        checkpoint: None,
        target: destination.target,
        tags: vec![destination.tag],
        name,
        checksums,
        checksum_files: Vec::new(),
        format: None,
        not_empty: true,
        image: wishes(),
        copy: None,
        epoch: env::source_date_epoch().transpose().map_err(usage)?,
        chosen: Chosen {
            source: built_in(source),
            filters: Filters::Named(Vec::new()),
            probe: built_in(plan::PROBE),
            framing: built_in(plan::FRAMING),
            compressor: None,
        },
        input,
        policy,
        compiler: plan::compiler()?,
    })
}

/// `ALGO:HEX,ALGO:HEX`, each of which must match.
pub(super) fn checksums(named_by: &str, text: &str) -> Result<Vec<Checksum>> {
    let read = |text: &str| text.trim().parse().map_err(|why: Error| usage(format!("{named_by}: {why}")));
    text.split(',').map(read).collect()
}

/// A name for a disk that has none: its owner's, so that the same disk of the same owner is the same image, else one by chance.
pub(super) fn uuid(owner: Option<&str>) -> Result<String> {
    if let Some(owner) = owner.filter(|owner| is_uuid(owner)) {
        return Ok(owner.to_ascii_lowercase());
    }
    // RFC 9562 §5.4: version 4, variant 10.
    let chance = u128::from_be_bytes(random::<16>()?);
    let marked = chance & !(0xf << 76) & !(0b11 << 62) | (4 << 76) | (0b10 << 62);
    let hex = format!("{marked:032x}");
    let parts: Option<Vec<&str>> =
        [0..8, 8..12, 12..16, 16..20, 20..32].into_iter().map(|range| hex.get(range)).collect();
    Ok(parts.ok_or_else(|| Error::internal(Stage::Plan, "a UUID of another length"))?.join("-"))
}

/// Where a disk is kept whose length nobody says, and how much there is room for: what the file system has left.
pub(super) fn spool() -> Result<(PathBuf, u64)> {
    let left = rustix::fs::statvfs(SPOOL).map_err(|why| {
        let message = format!("the file system of `{SPOOL}` cannot be asked for its size: {why}");
        Error::new(crate::error::Code::LocalFile, Stage::Plan, message).caused_by(std::io::Error::from(why))
    })?;
    Ok((SPOOL.into(), left.f_bavail.saturating_mul(left.f_frsize)))
}

fn wishes() -> ImageWishes {
    ImageWishes {
        media_types: MediaTypes::Docker,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        owner: OWNER,
        platform: Platform::linux_amd64(),
        wording: Wording {
            author: Some(AUTHOR.to_owned()),
            working_dir: Some("/".to_owned()),
            comment: Some(COMMENT.to_owned()),
        },
        formats: FORMATS,
    }
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_a_name_has_that_of_its_owner() {
        let owner = "B856691E-1038-11E9-A5AB-525500D15501";
        assert_eq!(uuid(Some(owner)).unwrap(), owner.to_ascii_lowercase());
        for other in [None, Some(""), Some("../../x"), Some("b856691e-1038-11e9-a5ab-525500d1550g")] {
            let made = uuid(other).unwrap();
            assert!(is_uuid(&made) && made != uuid(other).unwrap(), "{made}");
            assert_eq!((&made[14..15], "89ab".contains(&made[19..20])), ("4", true), "{made}");
        }
    }

    #[test]
    fn every_checksum_is_demanded() {
        let sum = "ab".repeat(16);
        assert_eq!(checksums("X", &format!("md5:{sum}, md5:{sum}")).unwrap().len(), 2);
        for wrong in ["", "md5:", "md5:ab", &format!("md5:{sum},"), &sum] {
            let why = checksums("X", wrong).unwrap_err().to_string();
            assert!(why.starts_with("X: "), "{why}");
        }
    }

    #[test]
    fn formats_are_called_as_they_were() {
        let wishes = wishes();
        assert_eq!(
            ["iso9660", "udf", "qcow2", "vpc"].map(|name| wishes.format_name(name)),
            ["iso", "iso", "qcow2", "vpc"]
        );
    }
}
