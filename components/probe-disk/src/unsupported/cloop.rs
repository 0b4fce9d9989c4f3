//! cloop 2.0 (QEMU `block/cloop.c`, `cloop_probe`): a shell script in front of the blocks.

use super::refused;
use crate::detect::Mark;
use crate::view::Stop;
use crate::{Verdict, View};

const SCRIPT: &[u8] = b"#!/bin/sh\n#V2.0 Format\n";

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, SCRIPT, "cloop")
}

pub(crate) fn inspect(_: &View) -> Result<Verdict, Stop> {
    Ok(refused("cloop", "a cloop header at 0"))
}
