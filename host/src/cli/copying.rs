//! Whether an image is copied as it is: that is what the flags say, not what the image turns out to be.

use super::args::{CopyWhen, Import};
use super::image;
use super::locate::{self, Destination};
use crate::error::{Code, Error, Result, Stage};
use crate::pipeline::{CopyPlan, ImageAt, Plan};

/// No filter at all.
const NONE: &str = "none";

/// What is to be copied; none if the disk becomes an image of its own.
pub(super) fn copy(import: &Import, plan: &Plan) -> Result<Option<CopyPlan>> {
    let at = match import.copy {
        CopyWhen::Never => return Ok(None),
        CopyWhen::Auto | CopyWhen::Always => image_at(import, plan)?,
    };
    let ours = ours(import);
    match (at, import.copy) {
        (Some(at), _) if ours.is_empty() => {
            // What the source component would choose, the host chooses here.
            let typed = plan.input.options.iter().rfind(|(key, _)| key == "platform").map(|(_, value)| value);
            let wanted = import.making.platform.as_ref().or(typed);
            Ok(Some(CopyPlan { image: at, platform: wanted.map(|text| image::platform(text)).transpose()? }))
        }
        (_, CopyWhen::Auto | CopyWhen::Never) => Ok(None),
        (None, CopyWhen::Always) => {
            Err(usage("--copy always: SOURCE is no image: expected docker://… or oci:DIR[:tag]".to_owned()))
        }
        (Some(_), CopyWhen::Always) => {
            Err(usage(format!("--copy always: an image that is copied as it is has no use for {}", ours.join(", "))))
        }
    }
}

/// Where the image is, if SOURCE is one.
fn image_at(import: &Import, plan: &Plan) -> Result<Option<ImageAt>> {
    let typed = &import.from.location;
    match &plan.input.registry {
        Some(registry) => match locate::image(typed)? {
            Destination::Registry(reference) => {
                Ok(Some(ImageAt::Registry { reference, credentials: registry.credentials.clone() }))
            }
            Destination::Layout(..) => Ok(None),
        },
        None if plan.input.layout.is_some() => match locate::image(typed)? {
            Destination::Layout(folder, tag) => Ok(Some(ImageAt::Layout(folder, tag))),
            Destination::Registry(_) => Ok(None),
        },
        None => Ok(None),
    }
}

/// What is asked for that only an image of our own has.
fn ours(import: &Import) -> Vec<&'static str> {
    let (making, from) = (&import.making, &import.from);
    let filtered = making.filter.iter().any(|filter| filter != NONE);
    let asked = [
        ("--name", making.name.is_some()),
        ("--label", !making.label.is_empty()),
        ("--annotation", !making.annotation.is_empty()),
        ("--media-types", making.media_types.is_some()),
        ("--owner", making.owner.is_some()),
        ("--filter", filtered),
        ("--framing", making.framing.is_some()),
        ("--compressor", making.compressor.is_some()),
        ("--spool", making.spool.is_some()),
        ("--checkpoint", import.checkpoint.is_some()),
        ("--source", from.source.is_some()),
        ("--source-header-file", from.source_header_file.is_some()),
    ];
    asked.into_iter().filter(|(_, asked)| *asked).map(|(flag, _)| flag).collect()
}

fn usage(message: String) -> Error {
    Error::new(Code::Usage, Stage::Plan, message)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Args, Command};
    use super::super::plan;
    use super::*;

    fn planned(source: &str, arguments: &[&str]) -> Result<Option<CopyPlan>> {
        let first = ["longshore", "import", source, "r.example/vm:2"];
        let all = first.iter().chain(arguments);
        let Command::Import(import) = Args::try_parse_from(all).unwrap().command else { panic!() };
        plan::plan(&import).map(|plan| plan.copy)
    }

    #[test]
    fn an_image_is_copied_unless_something_else_is_wanted() {
        let copied = |arguments: &[&str]| planned("docker://q.example/vm:1", arguments).unwrap();
        for more in [
            &[][..],
            &["--tag", "3", "--format", "raw", "--checksum", "md5:00000000000000000000000000000000"],
            &["--filter", "none", "--copy", "always", "--limit-rate", "1MiB"],
        ] {
            let Some(CopyPlan { image: ImageAt::Registry { reference, .. }, platform: None }) = copied(more) else {
                panic!("{more:?}")
            };
            assert_eq!(reference.to_string(), "q.example/vm:1");
        }
        for (flag, value) in [
            ("--copy", "never"),
            ("--name", "x"),
            ("--label", "a=b"),
            ("--annotation", "a=b"),
            ("--media-types", "oci"),
            ("--owner", "1:1"),
            ("--filter", "auto"),
            ("--framing", "framing-tar"),
            ("--compressor", "compressor-zstd"),
            ("--checkpoint", "/x"),
            ("--source", "source-registry"),
        ] {
            assert!(copied(&[flag, value]).is_none(), "{flag}");
            if flag != "--copy" {
                let refused = planned("docker://q.example/vm:1", &[flag, value, "--copy", "always"]).unwrap_err();
                assert!(refused.code() == Code::Usage && refused.to_string().contains(flag), "{refused}");
            }
        }
        assert!(planned("disk.raw", &[]).unwrap().is_none());
        assert_eq!(planned("disk.raw", &["--copy", "always"]).unwrap_err().code(), Code::Usage);
    }

    #[test]
    fn a_platform_is_that_of_the_image_that_is_copied() {
        for more in [["--platform", "linux/arm64/v8"], ["--source-option", "platform=linux/arm64/v8"]] {
            let platform = planned("docker://q.example/vm:1", &more).unwrap().unwrap().platform.unwrap();
            assert_eq!((&*platform.os, &*platform.architecture), ("linux", "arm64"));
            assert_eq!(platform.variant.as_deref(), Some("v8"));
        }
    }
}
