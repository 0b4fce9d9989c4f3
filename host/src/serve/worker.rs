//! An import in a thread of its own, with a runtime of its own.
//!
//! So the listener answers whatever an import is doing, what an import costs and waits for is its own, and several use
//! several CPUs. Between the threads goes nothing but a bounded pipe, the interrupt and the end.

use std::sync::{Arc, OnceLock};
use std::thread;

use tokio::sync::oneshot;

use super::upload::Ended;
use crate::error::{Error, Result, Stage};
use crate::observe::Progress;
use crate::pipeline::{Finished, Interrupted, Plan, import, in_this_thread};

/// Where an import that has begun puts its meters.
pub type Meters = Arc<OnceLock<Arc<Progress>>>;

/// Addresses for the stack of an import, as a process's first thread has them: what is not used takes no memory.
const STACK_BYTES: usize = 8 << 20;

/// Begins an import. What it comes to is received; nothing is if its thread ended over a bug.
///
/// # Errors
/// `internal` if there is no thread for it.
pub(super) fn begin(plan: Plan, interrupted: Interrupted) -> Result<(Meters, oneshot::Receiver<Ended>)> {
    let (sender, ended) = oneshot::channel();
    let meters = Meters::default();
    let shared = Arc::clone(&meters);
    let work = move || {
        // It counts from here, in this thread.
        let progress = Arc::new(Progress::start());
        let _ = shared.set(Arc::clone(&progress));
        let finished = in_this_thread(&progress, import(&plan, &progress, interrupted));
        // Whoever wants to know may be gone.
        let _ = sender.send(match finished {
            Ok(Finished { outcome, report }) => Ended { outcome, report: Some(report) },
            Err(error) => Ended { outcome: Err(error), report: None },
        });
    };
    thread::Builder::new()
        .name("upload".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map_err(|why| Error::internal(Stage::Plan, format!("there is no thread for the import: {why}")))?;
    Ok((meters, ended))
}
