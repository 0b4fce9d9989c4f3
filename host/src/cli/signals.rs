//! SIGINT and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Code, Error, Result, Stage};
use crate::pipeline::Interrupt;
use crate::serve::Signals;

/// Counts SIGINT and SIGTERM as they come, for a service: none yet, or the last one and how many there were. Never resolves.
pub(super) fn counted() -> Result<(Signals, impl Future<Output = ()>)> {
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let (sender, receiver) = watch::channel(None);
    Ok((receiver, async move {
        loop {
            let code = tokio::select! {
                _ = int.recv() => Code::Interrupted,
                _ = term.recv() => Code::Terminated,
            };
            sender.send_modify(|last| *last = Some((code, last.map_or(1, |(_, count)| count + 1))));
        }
    }))
}

/// Ends a run on SIGINT and SIGTERM, in order: it still cleans up behind itself. Resolves at the second signal of either
/// kind, which is meant to end it at once.
pub(super) fn signals(interrupt: Interrupt) -> Result<impl Future<Output = Error>> {
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

/// The first SIGINT or SIGTERM, where nothing is there yet to clean up.
pub(super) async fn signalled() -> Error {
    let heard = async {
        let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut term = signal(SignalKind::terminate()).map_err(failed)?;
        Ok(tokio::select! {
            _ = int.recv() => Code::Interrupted,
            _ = term.recv() => Code::Terminated,
        })
    };
    match heard.await {
        Ok(code) => Error::new(code, Stage::Plan, "the run was ended before it began"),
        Err(error) => error,
    }
}

fn failed(why: std::io::Error) -> Error {
    Error::internal(Stage::Plan, format!("signals cannot be received: {why}"))
}
