//! What somebody brings while it is read, as the one thing that a source is granted: an upload.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::local::Sender;
use crate::bindings::Failure;
use crate::error::Result;
use crate::observe::{Waiting, WaitsFor};
use crate::stream::{Chunks, Helping, Incoming, Pulse};

/// Bytes that are brought, for whoever reads first.
#[derive(Clone, Debug)]
pub struct Brought(Arc<Mutex<Option<Incoming>>>);

impl Brought {
    /// Bytes that are brought.
    #[must_use]
    pub fn new(incoming: Incoming) -> Self {
        Self(Arc::new(Mutex::new(Some(incoming))))
    }

    /// The bytes, once.
    pub(super) fn take(&self) -> Option<Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// One read of them.
pub(super) struct BroughtBytes {
    incoming: Incoming,
    /// Bytes that are still wanted; none = up to their end.
    left: Option<u64>,
    outcome: Option<Sender>,
    pulse: Pulse,
    /// As long as nobody brings any, the component is not at fault.
    helping: Option<Helping>,
    waiting: Waiting,
}

impl BroughtBytes {
    pub(super) fn new(incoming: Incoming, length: Option<u64>, pulse: &Pulse, outcome: Sender) -> Self {
        let waiting = Waiting::new(WaitsFor::Source);
        Self { incoming, left: length, outcome: Some(outcome), pulse: pulse.clone(), helping: None, waiting }
    }

    fn finish(&mut self, outcome: Result<(), Failure>) -> Poll<Option<Result<Bytes>>> {
        if let Some(sender) = self.outcome.take() {
            // The component dropped the outcome: it does not want to know.
            let _ = sender.send(outcome);
        }
        Poll::Ready(None)
    }
}

impl Chunks for BroughtBytes {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.outcome.is_none() {
            return Poll::Ready(None);
        }
        if self.left == Some(0) {
            return self.finish(Ok(()));
        }
        let brought = self.incoming.poll_chunk(cx);
        self.waiting.set(brought.is_pending());
        if brought.is_pending() {
            let pulse = &self.pulse;
            self.helping.get_or_insert_with(|| pulse.helping());
        } else {
            self.helping = None;
        }
        match ready!(brought) {
            Some(Ok(mut bytes)) => {
                if let Some(left) = &mut self.left {
                    bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            None => match self.left {
                Some(left) => self.finish(Err(Failure::Io(format!("the upload ended {left} bytes before it should")))),
                None => self.finish(Ok(())),
            },
            Some(Err(error)) => self.finish(Err(Failure::Io(error.to_string()))),
        }
    }
}
