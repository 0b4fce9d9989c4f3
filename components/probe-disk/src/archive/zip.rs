//! zip (PKWARE APPNOTE 6.3.10, 4.3.7 "Local file header" and 4.3.16 "End of central directory record").

use super::refused;
use crate::detect::Mark;
use crate::view::Stop;
use crate::{Verdict, View};

const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
/// An archive of nothing begins with its end.
const END: &[u8] = b"PK\x05\x06";

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, LOCAL_HEADER, "zip").or_else(|| Mark::find(head, 0, END, "zip"))
}

pub(crate) fn inspect(_: &View) -> Result<Verdict, Stop> {
    Ok(refused("zip", "a zip header at 0"))
}
