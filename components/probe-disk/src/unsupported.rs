//! Formats that are known by name and never stored: nobody starts a machine from them.

use crate::detect::Mark;
use crate::view::Stop;
use crate::{Verdict, View};

const BOCHS: &[u8] = b"Bochs Virtual HD Image";
const CLOOP: &[u8] = b"#!/bin/sh\n#V2.0 Format\n";

pub(crate) fn bochs(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, BOCHS, "Bochs")
}

pub(crate) fn cloop(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, CLOOP, "cloop")
}

pub(crate) fn inspect_bochs(_: &View) -> Result<Verdict, Stop> {
    Ok(refused("bochs", "`Bochs Virtual HD Image` at 0"))
}

pub(crate) fn inspect_cloop(_: &View) -> Result<Verdict, Stop> {
    Ok(refused("cloop", "a cloop header at 0"))
}

fn refused(format: &'static str, found: &str) -> Verdict {
    let mut verdict = Verdict::new(format, None);
    verdict.refuse("format-unsupported", format!("{found}: a {format} image must be converted first"));
    verdict
}
