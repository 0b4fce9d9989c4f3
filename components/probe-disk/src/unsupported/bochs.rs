//! Bochs growing images (QEMU `block/bochs.c`, `struct bochs_header`, "magic").

use super::refused;
use crate::detect::Mark;
use crate::view::Stop;
use crate::{Verdict, View};

const MAGIC: &[u8] = b"Bochs Virtual HD Image";

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, MAGIC, "Bochs")
}

pub(crate) fn inspect(_: &View) -> Result<Verdict, Stop> {
    Ok(refused("bochs", "`Bochs Virtual HD Image` at 0"))
}
