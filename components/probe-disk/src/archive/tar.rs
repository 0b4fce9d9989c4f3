//! tar (POSIX.1-2017, pax, "ustar Interchange Format"): a header of 512 bytes in front of each member.

use super::{ova, refused};
use crate::detect::Mark;
use crate::verdict::quoted;
use crate::view::Stop;
use crate::{Verdict, View};

/// The field "magic".
const MAGIC: (usize, &[u8]) = (257, b"ustar");
const HEADER: u64 = 512;
/// The field "name".
const NAME: usize = 100;

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    ova::marked(head).is_none().then(|| mark(head, "tar"))?
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    Ok(refused("tar", &first_member(view)?))
}

/// Whatever it holds.
pub(super) fn mark(head: &[u8], name: &'static str) -> Option<Mark> {
    Mark::find(head, MAGIC.0, MAGIC.1, name)
}

/// The name of the first member.
pub(super) fn name(head: &[u8]) -> &[u8] {
    head.get(..NAME.min(head.len())).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default()
}

pub(super) fn first_member(view: &View) -> Result<String, Stop> {
    Ok(format!("`ustar` at 257, first member {}", quoted(name(view.at(0, HEADER)?))))
}
