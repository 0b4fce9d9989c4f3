//! What makes a component of an [`Unwrapper`](filter_core::Unwrapper): the glue to the `filter-component` world. Whoever unwraps
//! something and is no filter does without it, or would export what only filters do.

#[cfg(target_family = "wasm")]
pub mod component;
