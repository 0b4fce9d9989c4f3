//! The one thread in which commands run that carry no disk.

use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::error::{Error, Result, Stage};

/// Does the work in this thread, to which guests are bound.
///
/// # Errors
/// `internal` if there is no runtime.
pub(super) fn alone<F: Future>(work: F) -> Result<F::Output> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| Error::internal(Stage::Plan, format!("there is no runtime: {why}")))?;
    Ok(LocalSet::new().block_on(&runtime, work))
}
