//! `gc`: what nothing names in a layout or a registry's storage, for people or as JSON, and removed if that is wanted.

use indicatif::HumanBytes;

use super::alone::alone;
use super::args::Gc;
use super::locate::{self, Destination};
use super::{messages, policy};
use crate::error::{Code, Error, Result, Stage};
use crate::pipeline::{self, GcAt, GcPlan};

/// How the storage of a registry is named.
const STORAGE: &str = "distribution:";

/// Looks, removes if it may, and tells.
pub(super) fn run(gc: &Gc) -> Result<()> {
    let at = match (gc.at.strip_prefix(STORAGE), gc.untagged) {
        (Some(""), _) => return Err(usage("`distribution:` names no folder")),
        (Some(folder), untagged) => GcAt::Storage { folder: folder.into(), untagged },
        (None, true) => {
            return Err(usage("--untagged is for a registry's storage, distribution:DIR")
                .hint("of a layout: longshore delete oci:DIR --untagged"));
        }
        (None, false) => match locate::image(&gc.at)? {
            Destination::Layout(folder, None) => GcAt::Layout(folder),
            Destination::Layout(_, Some(_)) => {
                return Err(usage("a layout is cleared as a whole: expected oci:DIR"));
            }
            Destination::Registry(_) => {
                let message =
                    "a registry's storage is cleared on its own machine, behind its back: no request does that";
                return Err(usage(message).hint("there: longshore gc distribution:DIR, read-only meanwhile"));
            }
        },
    };
    let policy = policy::effective(&gc.policy, None)?;
    let plan = GcPlan { at, grace: gc.grace, remove: gc.yes, policy };
    let collected = alone(pipeline::collect(&plan))??;
    if gc.json {
        return messages::document(serde_json::to_string_pretty(&collected));
    }
    for manifest in &collected.manifests {
        messages::data(&messages::harmless(&format!("{}@{}", manifest.repository, manifest.digest)))?;
    }
    for blob in &collected.blobs {
        messages::data(&format!("{}  {}", blob.digest, HumanBytes(blob.size)))?;
    }
    let (count, bytes) = (collected.blobs.len(), HumanBytes(collected.bytes));
    let young = match collected.young {
        0 => String::new(),
        young => format!("; {young} more are younger than {}", humantime::format_duration(gc.grace)),
    };
    let manifests = match collected.manifests.len() {
        0 => String::new(),
        manifests => format!("{manifests} manifests without a tag and "),
    };
    let line = match collected.removed {
        true => format!("removed {manifests}{count} blobs, {bytes}{young}"),
        false => format!("would remove {manifests}{count} blobs, {bytes}{young}: --yes does it"),
    };
    messages::line(&line);
    Ok(())
}

fn usage(message: &str) -> Error {
    Error::new(Code::Usage, Stage::Plan, message)
}
