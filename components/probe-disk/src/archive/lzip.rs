//! lzip (the lzip manual, "File format": "ID string").

use super::refused;
use crate::detect::Mark;
use crate::view::Stop;
use crate::{Verdict, View};

const MAGIC: &[u8] = b"LZIP";

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, MAGIC, "lzip")
}

pub(crate) fn inspect(_: &View) -> Result<Verdict, Stop> {
    Ok(refused("lzip", "`LZIP` at 0"))
}
