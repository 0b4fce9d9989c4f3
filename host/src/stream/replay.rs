//! Bytes that have flowed already, once more.

use super::Reading;

/// What flowed past can be had again: from memory or a spool if it is still there, else from a source with ranges, framed
/// anew. Whoever sends the layer asks for it when a receiver has less than was sent.
pub trait Replay: Send + Sync + 'static {
    /// The bytes from `offset` on, counted from the flow's start, as they flowed: the reading gives a flow that ends where
    /// the original will end, or at any later point than the original has reached so far. `None` if those bytes cannot be
    /// had: nothing may be guessed in their place.
    ///
    /// The original goes on unharmed: nobody rewinds it, its hashes stay as they are, and the reading may be dropped at
    /// any point. At most one reading is used at a time.
    ///
    /// # Errors
    /// Of the reading: whatever keeps the source from being read, `source-changed` if it is another than before.
    fn from(&self, offset: u64) -> Option<Reading>;
}
