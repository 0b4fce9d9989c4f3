//! What is inside gzip members, as a filter: [`Gzip`] and nothing more.

#[cfg(target_family = "wasm")]
mod component;

pub use filter_core::Gzip;
