//! 7z (7-Zip's `DOC/7zFormat.txt`, "SignatureHeader").

use super::refused;
use crate::detect::Mark;
use crate::view::Stop;
use crate::{Verdict, View};

/// `kSignature`.
const SIGNATURE: &[u8] = b"7z\xbc\xaf\x27\x1c";

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, SIGNATURE, "7z")
}

pub(crate) fn inspect(_: &View) -> Result<Verdict, Stop> {
    Ok(refused("7z", "a 7z header at 0"))
}
