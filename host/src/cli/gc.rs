//! `gc`: what nothing names in a layout, for people or as JSON, and removed if that is wanted.

use indicatif::HumanBytes;

use super::alone::alone;
use super::args::Gc;
use super::locate::{self, Destination};
use super::{messages, policy};
use crate::error::{Code, Error, Result, Stage};
use crate::pipeline::{self, GcPlan};

/// Looks, removes if it may, and tells.
pub(super) fn run(gc: &Gc) -> Result<()> {
    let layout = match locate::image(&gc.at)? {
        Destination::Layout(folder, None) => folder,
        Destination::Layout(_, Some(_)) => return Err(usage("a layout is cleared as a whole: expected oci:DIR")),
        Destination::Registry(_) => {
            let message = "a registry clears its own storage, on its own machine";
            return Err(
                usage(message).hint("distribution's: `registry garbage-collect CONFIGURATION`, read-only meanwhile")
            );
        }
    };
    let policy = policy::effective(&gc.policy, None)?;
    let plan = GcPlan { layout, grace: gc.grace, remove: gc.yes, policy };
    let collected = alone(pipeline::collect(&plan))??;
    if gc.json {
        return messages::document(serde_json::to_string_pretty(&collected));
    }
    for blob in &collected.blobs {
        messages::data(&format!("{}  {}", blob.digest, HumanBytes(blob.size)))?;
    }
    let (count, bytes) = (collected.blobs.len(), HumanBytes(collected.bytes));
    let young = match collected.young {
        0 => String::new(),
        young => format!("; {young} more are younger than {}", humantime::format_duration(gc.grace)),
    };
    let line = match collected.removed {
        true => format!("removed {count} blobs, {bytes}{young}"),
        false => format!("would remove {count} blobs, {bytes}{young}: --yes does it"),
    };
    messages::line(&line);
    Ok(())
}

fn usage(message: &str) -> Error {
    Error::new(Code::Usage, Stage::Plan, message)
}
