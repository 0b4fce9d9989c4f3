//! What the image is to be like: labels, annotations, media types, owner, platform.

use std::collections::BTreeMap;

use super::args::Making;
use crate::error::{Code, Error, Result, Stage};
use crate::oci::{MediaTypes, Platform, Wording, label};
use crate::pipeline::ImageWishes;

/// The container-disk convention (KubeVirt: qemu runs as 107).
const OWNER: (u32, u32) = (107, 107);
/// The most bytes of all labels, and of all annotations: registries take manifests up to 4 MiB.
const MAX_BYTES: usize = 1 << 20;

/// Reads the flags.
pub(super) fn wishes(making: &Making) -> Result<ImageWishes> {
    let media_types = making.media_types.as_deref().map_or_else(|| Ok(MediaTypes::default()), str::parse);
    let media_types = media_types.map_err(|why| usage(format!("--media-types: {why}")))?;
    let labels = pairs("--label", &making.label)?;
    if let Some(ours) = label::ALL.iter().find(|ours| labels.contains_key(**ours)) {
        return Err(usage(format!("--label: `{ours}` says what the disk is, and longshore sets it")));
    }
    let annotations = pairs("--annotation", &making.annotation)?;
    if media_types == MediaTypes::Docker && !annotations.is_empty() {
        return Err(usage("--annotation: Docker's manifests have no annotations".to_owned())
            .hint("use --label, or --media-types oci"));
    }
    Ok(ImageWishes {
        media_types,
        labels,
        annotations,
        owner: making.owner.as_deref().map_or(Ok(OWNER), owner)?,
        platform: making.platform.as_deref().map_or_else(|| Ok(Platform::linux_amd64()), platform)?,
        wording: Wording::default(),
        formats: &[],
    })
}

fn usage(message: String) -> Error {
    Error::new(Code::Usage, Stage::Plan, message)
}

/// `KEY=VALUE`, each key once: of two values one would be lost without a word.
fn pairs(flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    let mut bytes = 0_usize;
    for text in texts {
        bytes = bytes.saturating_add(text.len());
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.is_empty() && !key.contains(char::is_control))
            .ok_or_else(|| usage(format!("{flag}: `{text}` is not KEY=VALUE")))?;
        if pairs.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(usage(format!("{flag}: `{key}` is set twice")));
        }
    }
    if bytes > MAX_BYTES {
        return Err(usage(format!("{flag}: {bytes} bytes in all, expected at most {MAX_BYTES}")));
    }
    Ok(pairs)
}

fn owner(text: &str) -> Result<(u32, u32)> {
    let id = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    text.split_once(':')
        .and_then(|(uid, gid)| Some((id(uid)?, id(gid)?)))
        .ok_or_else(|| usage(format!("--owner: `{text}` is not UID:GID in numbers")))
}

/// `os/arch[/variant]` as Go names them.
pub(super) fn platform(text: &str) -> Result<Platform> {
    let parts: Vec<&str> = text.split('/').collect();
    let fits = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
    };
    match parts.as_slice() {
        [os, architecture, variant @ ..] if variant.len() <= 1 && parts.iter().all(fits) => Ok(Platform {
            os: (*os).to_owned(),
            architecture: (*architecture).to_owned(),
            variant: variant.first().map(|variant| (*variant).to_owned()),
        }),
        _ => Err(usage(format!("--platform: `{text}` is not OS/ARCH or OS/ARCH/VARIANT, as linux/arm64/v8"))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Args, Command};
    use super::*;

    fn read(arguments: &[&str]) -> Result<ImageWishes> {
        let all = ["longshore", "import", "disk.raw", "oci:out"].iter().chain(arguments);
        let Command::Import(import) = Args::try_parse_from(all).unwrap().command else { panic!() };
        wishes(&import.making)
    }

    #[test]
    fn without_flags_it_is_a_container_disk() {
        let wishes = read(&[]).unwrap();
        assert_eq!((wishes.media_types, wishes.owner), (MediaTypes::Oci, (107, 107)));
        assert_eq!(wishes.platform, Platform::linux_amd64());
        assert!(wishes.labels.is_empty() && wishes.annotations.is_empty());
    }

    #[test]
    fn every_flag_is_read() {
        let wishes = read(&[
            "--label",
            "a=b=c",
            "--label",
            "d=",
            "--annotation",
            "e=f",
            "--owner",
            "0:4294967295",
            "--platform",
            "linux/arm64/v8",
        ])
        .unwrap();
        assert_eq!((&*wishes.labels["a"], &*wishes.labels["d"], &*wishes.annotations["e"]), ("b=c", "", "f"));
        assert_eq!(wishes.owner, (0, u32::MAX));
        assert_eq!(wishes.platform.variant.as_deref(), Some("v8"));
        assert_eq!(read(&["--media-types", "docker"]).unwrap().media_types, MediaTypes::Docker);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for arguments in [
            &["--label", "a"][..],
            &["--label", "=b"],
            &["--label", "a=b", "--label", "a=b"],
            &["--label", "source-image-size=5"],
            &["--label", "erofs-compatible-layers=false"],
            &["--annotation", "a\n=b"],
            &["--annotation", "a=b", "--media-types", "docker"],
            &["--media-types", "OCI"],
            &["--owner", "107"],
            &["--owner", "root:root"],
            &["--owner=-1:0"],
            &["--owner", "+1:0"],
            &["--owner", "1:4294967296"],
            &["--platform", "linux"],
            &["--platform", "linux/"],
            &["--platform", "linux/amd64/v1/x"],
            &["--platform", "Linux/amd64"],
        ] {
            assert_eq!(read(arguments).unwrap_err().code(), Code::Usage, "{arguments:?}");
        }
        let long = format!("a={}", "x".repeat(MAX_BYTES));
        assert_eq!(read(&["--label", &long]).unwrap_err().code(), Code::Usage);
    }
}
