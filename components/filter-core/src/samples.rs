//! What the filters are tried with.

/// So many bytes that do not repeat, the same every time.
#[must_use]
pub fn bytes(length: usize) -> Vec<u8> {
    (0..).flat_map(|at: u32| (at.wrapping_mul(at) >> 7).to_le_bytes()).take(length).collect()
}

/// A wrapper with one bit of it turned over, each once, behind the byte and the bit that it is.
pub fn damaged(whole: &[u8]) -> impl Iterator<Item = ((usize, u32), Vec<u8>)> {
    let places = (0..whole.len()).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    places.map(|(at, bit)| {
        let mut damaged = whole.to_vec();
        if let Some(byte) = damaged.get_mut(at) {
            *byte ^= 1 << bit;
        }
        ((at, bit), damaged)
    })
}
