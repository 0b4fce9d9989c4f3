//! The one disk in an archive: OVA (DSP0243), tar (POSIX.1 ustar and pax, GNU) or zip (APPNOTE 6.3), in one pass.
//!
//! What the disk is, `choosing` decides; a second candidate ends the run, since the bytes of the first are then on their way
//! already but nothing is committed. Everything else is passed over. The size that the archive states for the disk is
//! announced, and it is compared. Readers of archives that exist want to seek, or to block while they read: this one is fed.
//! What it reads and what it refuses, stands in `docs/filters.md`.

#[cfg(target_family = "wasm")]
mod component;

mod choosing;
mod ovf;
mod tar;
mod zip;
mod zip_header;

use filter_core::{Announced, Pending, Refusal, Step, Unwrapper};
use tar::Tar;
use zip::Zip;

/// Unwraps the disk in an archive.
#[derive(Debug)]
pub struct Archive(Kind);

#[derive(Debug)]
enum Kind {
    /// The first bytes, until they say what it is.
    Unknown(Pending),
    Tar(Box<Tar>),
    Zip(Box<Zip>),
}

/// The beginning of a zip archive: an entry, no entry at all, or one of several pieces (APPNOTE §4.3.7, §4.3.16, §8.5).
const ZIP: [[u8; 4]; 4] = [*b"PK\x03\x04", *b"PK\x05\x06", *b"PK\x07\x08", *b"PK00"];

impl Archive {
    /// Whatever the size and the name of the input.
    #[must_use]
    pub fn new(_: Option<u64>, _: Option<String>) -> Self {
        Self(Kind::Unknown(Pending::default()))
    }
}

impl Unwrapper for Archive {
    fn step(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Result<Step, Refusal> {
        match &mut self.0 {
            Kind::Unknown(held) => {
                let taken = held.fill(input, 4);
                if held.held().len() < 4 {
                    return if last && taken == input.len() {
                        Err(Refusal::invalid("no archive begins here"))
                    } else {
                        Ok(Step { taken, ..Step::default() })
                    };
                }
                let held = std::mem::take(held);
                let zip = ZIP.iter().any(|magic| magic == held.held());
                self.0 = if zip { Kind::Zip(Box::new(Zip::new(held))) } else { Kind::Tar(Box::new(Tar::new(held))) };
                let rest = input.get(taken..).unwrap_or_default();
                let step = self.step(rest, last, output)?;
                Ok(Step { taken: taken + step.taken, ..step })
            }
            Kind::Tar(tar) => tar.step(input, last, output),
            Kind::Zip(zip) => zip.step(input, last, output),
        }
    }

    fn announced(&self) -> Option<&Announced> {
        match &self.0 {
            Kind::Unknown(_) => None,
            Kind::Tar(tar) => tar.announced(),
            Kind::Zip(zip) => zip.announced(),
        }
    }
}

/// Copies from the front of `input` what belongs to the next `left` bytes and fits. Says how much that was.
fn copied(input: &[u8], output: &mut [u8], left: u64) -> usize {
    let most = usize::try_from(left).unwrap_or(usize::MAX).min(input.len()).min(output.len());
    if let (Some(from), Some(to)) = (input.get(..most), output.get_mut(..most)) {
        to.copy_from_slice(from);
    }
    most
}

/// Takes what stands behind an archive's end, which must be nothing or zeros. Whatever else is there, another reader may take it
/// for the archive.
fn nothing_behind(kind: &str, behind: &[u8]) -> Result<(), Refusal> {
    if behind.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    Err(Refusal::invalid(format!("something follows the end of the {kind} archive")))
}

/// How much of `input` belongs to the next `left` bytes.
fn passed(input: &[u8], left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(input.len())
}
