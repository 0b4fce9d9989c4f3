//! SIGINT and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Code, Error, Result, Stage};
use crate::pipeline::Interrupt;

/// Ends a run on SIGINT and SIGTERM, in order: it still cleans up behind itself. Resolves at the second signal of either
/// kind, which is meant to end it at once.
pub(super) fn signals(interrupt: Interrupt) -> Result<impl Future<Output = Error>> {
    let failed = |why| Error::internal(Stage::Plan, format!("signals cannot be received: {why}"));
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(async move {
        let mut next = async || {
            tokio::select! {
                _ = int.recv() => Code::Interrupted,
                _ = term.recv() => Code::Terminated,
            }
        };
        interrupt.end(next().await);
        let code = next().await;
        Error::new(code, Stage::Upload, "the run was ended by a second signal, before it had cleaned up")
    })
}
