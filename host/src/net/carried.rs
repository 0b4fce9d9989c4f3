//! Our own error, carried through hyper, which boxes and wraps what it is given.

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::error::Error;

/// An [`Error`] on its way through somebody else's error type.
#[derive(Debug)]
pub(super) struct Carried(Mutex<Option<Error>>);

/// Boxes an error of ours for somebody else's error type; the client takes it out again.
pub(crate) fn carried(error: Error) -> Box<dyn StdError + Send + Sync> {
    Box::new(Carried::new(error))
}

impl Carried {
    pub(super) fn new(error: Error) -> Self {
        Self(Mutex::new(Some(error)))
    }

    /// The error of ours among the causes of `error`, if there is one.
    pub(super) fn find(error: &(dyn StdError + 'static)) -> Option<Error> {
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(carried) = cause.downcast_ref::<Self>() {
                return carried.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
            next = cause.source();
        }
        None
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => error.fmt(f),
            None => f.write_str("an error that was taken out"),
        }
    }
}

impl StdError for Carried {}
