//! Ending a run from outside, so that it can still clean up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::{Code, Error, Result, Stage};

/// Ends the run it was made for.
#[derive(Debug)]
pub struct Interrupt(watch::Sender<Option<End>>);

/// The run's end of it.
#[derive(Clone, Debug)]
pub struct Interrupted(watch::Receiver<Option<End>>);

/// Why a run is to end.
#[derive(Clone, Debug)]
enum End {
    /// A signal, by its code.
    Signal(Code),
    /// Something that is wrong.
    Because(Arc<Error>),
}

/// Makes both ends.
#[must_use]
pub fn interrupt() -> (Interrupt, Interrupted) {
    let (sender, receiver) = watch::channel(None);
    (Interrupt(sender), Interrupted(receiver))
}

impl Interrupt {
    /// Ends the run with that code.
    pub fn end(&self, code: Code) {
        self.begin(End::Signal(code));
    }

    /// Ends the run because of something that only whoever started it can see.
    pub fn fail(&self, error: Error) {
        self.begin(End::Because(Arc::new(error)));
    }

    /// The first reason counts.
    fn begin(&self, end: End) {
        self.0.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert(end);
            first
        });
    }
}

impl Interrupted {
    /// Waits so long, unless the run is ended first.
    ///
    /// # Errors
    /// Why it is to end.
    pub async fn pause(&self, time: Duration) -> Result<()> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            error = self.error() => Err(error),
        }
    }

    /// Does `work` unless the run is ended first.
    pub(super) async fn or<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            error = self.error() => Err(error),
        }
    }

    /// Resolves when the run is to end; never if nobody can end it any more.
    pub(super) async fn error(&self) -> Error {
        let mut receiver = self.0.clone();
        let ended = receiver.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        match ended {
            Some(End::Because(error)) => error.retold(),
            Some(End::Signal(code)) => {
                let signal = if code == Code::Terminated { "SIGTERM" } else { "SIGINT" };
                Error::new(code, Stage::Upload, format!("the run was ended by {signal}"))
            }
            None => std::future::pending().await,
        }
    }
}
