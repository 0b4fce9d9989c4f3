//! What is inside zstd frames, as a filter: [`Zstd`] and nothing more.

#[cfg(target_family = "wasm")]
mod component;

pub use filter_core::{MAX_WINDOW, Zstd};
