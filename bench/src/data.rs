//! The disk: noise, the same every time, which neither compresses nor repeats.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Bytes in a GiB, what costs are per.
pub const GIB: u64 = 1 << 30;
/// What is made at a time.
pub const BLOCK_BYTES: usize = 1 << 20;

/// Marsaglia's xorshift64.
pub struct Noise(u64);

impl Default for Noise {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

impl Noise {
    /// The next bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            for (byte, noise) in word.iter_mut().zip(self.0.to_le_bytes()) {
                *byte = noise;
            }
        }
    }
}

/// Writes a raw disk of `blocks` MiB, a block at a time: the bench's own memory would count as its children's.
///
/// # Errors
/// If there is no room for it.
pub fn raw(path: &Path, blocks: u64) -> Result<()> {
    let file = File::create(path).with_context(|| format!("{} cannot be made", path.display()))?;
    let (mut file, mut noise, mut block) = (BufWriter::new(file), Noise::default(), vec![0; BLOCK_BYTES]);
    for _ in 0..blocks {
        noise.fill(&mut block);
        file.write_all(&block)?;
    }
    file.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_the_same_every_time_and_does_not_repeat() {
        let (mut one, mut other, mut next) = ([0; 64], [0; 64], [0; 64]);
        let mut noise = Noise::default();
        noise.fill(&mut one);
        noise.fill(&mut next);
        Noise::default().fill(&mut other);
        assert_eq!(one, other);
        assert_ne!(one, next);
    }
}
