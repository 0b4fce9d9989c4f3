//! What the built-in filters have in common. A filter is an [`Unwrapper`]: it is fed, and gives what is inside. This half is
//! pure, testable without wasm; `filter-glue` is the glue to the `filter-component` world. What not only filters take off, a layer's
//! gzip and zstd, stands here too.

mod bounded;
mod deflate;
mod gzip;
mod name;
mod pending;
pub mod samples;
mod zstd;

use std::fmt;

pub use bounded::{Bounded, FREE_BYTES, RATIO, unwrapped};
pub use deflate::{Crc, Inflate};
pub use gzip::Gzip;
pub use name::bare;
pub use pending::Pending;
pub use zstd::{MAX_WINDOW, Zstd};

/// Takes the bytes of a wrapper and gives those inside, however both are split.
pub trait Unwrapper {
    /// Takes from the front of `input` and fills `output` from its front. `last` says that nothing follows `input`.
    ///
    /// As long as it has not ended it must take or give something, unless `input` is empty and not the last, and must give
    /// nothing before it is [announced](Self::announced). Once it has ended it is not asked again: what it did not take of its
    /// input does not matter.
    ///
    /// # Errors
    /// [`Refusal`] for what is no such wrapper, or no whole one; what was given before is then worth nothing.
    fn step(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Result<Step, Refusal>;

    /// What is known of the output, once nothing more will become known before it flows. From then on it stays the same.
    fn announced(&self) -> Option<&Announced>;
}

impl<U: Unwrapper + ?Sized> Unwrapper for Box<U> {
    fn step(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Result<Step, Refusal> {
        (**self).step(input, last, output)
    }

    fn announced(&self) -> Option<&Announced> {
        (**self).announced()
    }
}

/// How far a step came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Bytes taken of the input.
    pub taken: usize,
    /// Bytes given.
    pub given: usize,
    /// Whether that was all.
    pub ended: bool,
}

/// What is known of an output before it flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// How many bytes it will have, as the wrapper claims.
    pub size: Option<u64>,
    /// Whether that is no mere claim: whoever unwraps gets as many bytes or fails.
    pub exact: bool,
    /// What it is called.
    pub name: Option<String>,
}

/// Why there is no disk to be had of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is malformed, contradicts itself or ends too soon, or holds what the filter does not read.
    Invalid(String),
    /// It goes beyond a bound of the filter's.
    Limit(String),
}

impl Refusal {
    /// Malformed, in these words.
    pub fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid(why.into())
    }

    /// Beyond a bound, in these words.
    pub fn limit(why: impl Into<String>) -> Self {
        Self::Limit(why.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Invalid(why) | Self::Limit(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for Refusal {}
