//! A run in a runtime of its own, in this thread.

use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::error::{Error, Result, Stage};
use crate::observe::Progress;

/// Carries `flow` to its end in this thread, which does nothing else: whom it waits for is put down in `progress`.
///
/// One thread: download, digest and upload share the cache, and a second thread costs more CPU than it saves time.
///
/// # Errors
/// `internal` if there is no runtime.
pub fn in_this_thread<T>(progress: &Progress, flow: impl Future<Output = T>) -> Result<T> {
    let (parks, wakes) = (Arc::clone(&progress.idle), Arc::clone(&progress.idle));
    let runtime = Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || parks.parks())
        .on_thread_unpark(move || wakes.wakes())
        .build()
        .map_err(|why| Error::internal(Stage::Plan, format!("there is no runtime: {why}")))?;
    let done = LocalSet::new().block_on(&runtime, flow);
    // A read of standard input may still be blocked; nothing waits for it.
    runtime.shutdown_background();
    Ok(done)
}
