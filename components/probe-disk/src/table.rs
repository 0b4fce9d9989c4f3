//! Tables that say where the blocks of a disk lie in its file: whether the file ends before one of them.
//!
//! Not all of every table is read, and of two levels only a part of the second one: what is read costs at most [`MOST`] bytes a
//! table. A file that was cut short while it was copied ends before the block that was written last, which is usually the
//! last one of the last table; a file in which only some other block is missing may pass.

use crate::view::Stop;
use crate::{Verdict, View};

/// The most bytes that are read of one table.
const MOST: u64 = 256 << 10;

/// The table at `offset`, `length` bytes or as many as are read: nothing of it if the disk's size is unknown or the disk is
/// refused anyway, and nothing if it lies before what was read by then, where a source without ranges cannot read it.
pub(crate) fn read<'a>(view: &'a View, verdict: &Verdict, offset: u64, length: u64) -> Result<&'a [u8], Stop> {
    if view.size().is_none() || verdict.is_refused() {
        return Ok(&[]);
    }
    Ok(view.forward(offset, length.min(MOST))?.unwrap_or_default())
}

/// The highest of these offsets, if the file ends before it.
pub(crate) fn beyond(view: &View, ends: impl Iterator<Item = u64>) -> Option<u64> {
    ends.max().filter(|end| view.ends_before(*end))
}

pub(crate) fn le32(table: &[u8]) -> impl DoubleEndedIterator<Item = u64> {
    table.as_chunks().0.iter().map(|entry| u64::from(u32::from_le_bytes(*entry)))
}

pub(crate) fn le64(table: &[u8]) -> impl DoubleEndedIterator<Item = u64> {
    table.as_chunks().0.iter().map(|entry| u64::from_le_bytes(*entry))
}

pub(crate) fn be64(table: &[u8]) -> impl DoubleEndedIterator<Item = u64> {
    table.as_chunks().0.iter().map(|entry| u64::from_be_bytes(*entry))
}
