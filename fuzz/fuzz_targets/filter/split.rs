//! What comes out of a filter must not depend on how its input is split.

use filter_core::{Unwrapper, unwrapped};

/// The most bytes in one piece, by the first byte of the input.
pub fn split<U: Unwrapper>(new: impl Fn() -> U, data: &[u8]) {
    let Some((piece, wrapped)) = data.split_first() else { return };
    let whole = unwrapped(new(), [wrapped], 1 << 16);
    let split = unwrapped(new(), wrapped.chunks(usize::from(*piece) + 1), 1000);
    assert_eq!(whole.ok(), split.ok());
}
