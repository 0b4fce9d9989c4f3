//! What a probe sees of a disk: the ranges it asks for, and nothing of timing.
//!
//! The flow of the disk is held back until the probe is done. On a disk that can only be read in order it advances while a
//! request is outstanding, no further than that request's end ([`in_order`]). On one with ranges it does not advance at
//! all: every request is answered by range, and what was answered is compared with what flows later ([`ranged`]). Either
//! way what a probe sees depends on its requests alone, and it has seen the bytes that are passed on.

mod in_order;
mod kept;
mod pieces;
mod ranged;
mod tail;

use std::pin::Pin;
use std::sync::Arc;

use super::{Cut, Flow, Helping};
use crate::error::{Error, Result};
use in_order::InOrder;
use ranged::Ranged;

/// The most bytes one request may ask for.
pub const MAX_WINDOW_READ: u32 = 1 << 20;

/// The most bytes that are answered by range. They are kept until they have been compared.
pub const MAX_RANGED_BYTES: u64 = 4 << 20;

/// How the disk behind the window can be read.
#[derive(Clone)]
pub enum Seek {
    /// From any offset.
    Ranged(Arc<dyn Ranges>),
    /// Only in order.
    InOrder,
}

/// A disk that can be read from any offset, while its flow is read too.
pub trait Ranges: Send + Sync + 'static {
    /// Reads `length` bytes at `offset`, at least one.
    ///
    /// # Errors
    /// Whatever the source's failure is; failures on the way are the flow's.
    fn read(&self, offset: u64, length: u64) -> Reading;
}

/// A read that has yet to begin.
pub type Reading = Pin<Box<dyn Future<Output = Result<Flow>> + Send>>;

/// The answer to a request. Dropping it gives the request up.
pub type Answer = Pin<Box<dyn Future<Output = Result<Vec<u8>, WindowError>> + Send>>;

/// Why a request cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowError {
    /// Too long, out of range, or a second one while the first is outstanding.
    Invalid(&'static str),
    /// The flow has passed it.
    Gone,
    /// The disk has no such thing.
    Unsupported(&'static str),
    /// More than a probe may ask for.
    Limit,
    /// The disk could not be read there.
    Io,
}

/// Holds `flow` back for a probe. `size` is the disk's, if known.
#[must_use]
pub fn windowed(flow: Flow, size: Option<u64>, seek: Seek) -> (Flow, Window) {
    match seek {
        Seek::InOrder => {
            let (flow, view) = in_order::gated(flow, true);
            (flow, Window { size, partial: false, view: View::InOrder(view) })
        }
        Seek::Ranged(ranges) => {
            let view = Ranged::new(ranges, size);
            (ranged::compared(flow, Arc::clone(&view)), Window { size, partial: false, view: View::Ranged(view) })
        }
    }
}

/// Holds `flow`, of which no more than the beginning may be shown, back for a probe. Whoever reads it says with
/// [`Window::cut_off`] that nothing more of it will come. `tail` says whether it may come to its end at all.
#[must_use]
pub fn beginning_windowed(flow: Flow, size: Option<u64>, tail: bool) -> (Flow, Window) {
    let (flow, view) = in_order::gated(flow, tail);
    (flow, Window { size, partial: true, view: View::InOrder(view) })
}

/// The probe's end.
#[derive(Clone)]
pub struct Window {
    size: Option<u64>,
    partial: bool,
    view: View,
}

#[derive(Clone)]
enum View {
    InOrder(Arc<InOrder>),
    Ranged(Arc<Ranged>),
}

impl Window {
    /// A window over a disk that does not flow.
    #[must_use]
    pub fn over(ranges: Arc<dyn Ranges>, size: Option<u64>) -> Self {
        Self { size, partial: false, view: View::Ranged(Ranged::new(ranges, size)) }
    }

    /// The size of the disk, if known.
    #[must_use]
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// Whether no more than the beginning of the disk may be shown.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.partial
    }

    /// Says that nothing more of the disk will be shown. What was asked for behind that is refused, and so is what will be.
    pub fn cut_off(&self) {
        if let View::InOrder(view) = &self.view {
            view.cut_off();
        }
    }

    /// Whether something was asked for that is not shown.
    #[must_use]
    pub fn was_too_short(&self) -> bool {
        match &self.view {
            View::InOrder(view) => view.was_too_short(),
            View::Ranged(_) => false,
        }
    }

    /// The disk behind a window that is answered by range, from its first byte on, as far as the limits of the window and
    /// `requests` ranges in all, those of the past included, let it come; behind that it is cut. What was answered before is not
    /// asked for again. Says how much of it will flow at least, if it is that long.
    #[must_use]
    pub fn pieces(&self, requests: usize) -> (Flow, Cut, u64) {
        pieces::pieces(self.clone(), requests)
    }

    /// Bytes answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        match &self.view {
            View::InOrder(view) => view.answered(),
            View::Ranged(view) => view.answered(),
        }
    }

    /// Whether the flow broke off before its end.
    #[must_use]
    pub fn failed(&self) -> bool {
        match &self.view {
            View::InOrder(view) => view.failed(),
            View::Ranged(_) => false,
        }
    }

    /// Why a range could not be read, once. Whatever the probe makes of it, nobody has seen that part of the disk.
    #[must_use]
    pub fn take_error(&self) -> Option<Error> {
        match &self.view {
            View::InOrder(_) => None,
            View::Ranged(view) => view.take_error(),
        }
    }

    /// Reads `len` bytes at `offset`: fewer only at the disk's end, none behind it. The request is outstanding from the
    /// call until its answer is taken or dropped; `helping` lives until the answer is there.
    ///
    /// # Errors
    /// See [`WindowError`].
    #[must_use]
    pub fn read_at(&self, offset: u64, len: u32, helping: Helping) -> Answer {
        let asked = match range(offset, len) {
            Ok(end) => match &self.view {
                View::InOrder(view) => view.read_at(offset, end, helping),
                View::Ranged(view) => view.read_at(offset, end, helping),
            },
            Err(why) => Err(why),
        };
        asked.unwrap_or_else(refused)
    }

    /// Reads the last `len` bytes of the disk, fewer if it is smaller. See [`Self::read_at`].
    ///
    /// # Errors
    /// See [`WindowError`].
    #[must_use]
    pub fn read_tail(&self, len: u32, helping: Helping) -> Answer {
        let asked = match range(0, len) {
            Ok(_) => match &self.view {
                View::InOrder(view) => view.read_tail(len, helping),
                View::Ranged(view) => view.read_tail(len, helping),
            },
            Err(why) => Err(why),
        };
        asked.unwrap_or_else(refused)
    }

    /// Lets the flow go: the probe is done.
    pub fn release(&self) {
        match &self.view {
            View::InOrder(view) => view.release(),
            View::Ranged(view) => view.release(),
        }
    }
}

/// The end of a range that is within bounds.
fn range(offset: u64, len: u32) -> Result<u64, WindowError> {
    if len > MAX_WINDOW_READ {
        return Err(WindowError::Invalid("more than 1 MiB was asked for"));
    }
    offset.checked_add(u64::from(len)).ok_or(WindowError::Invalid("the end is out of range"))
}

const OUTSTANDING: WindowError = WindowError::Invalid("another request is outstanding");

fn refused(why: WindowError) -> Answer {
    Box::pin(std::future::ready(Err(why)))
}

#[cfg(test)]
mod tests {
    use super::super::Pulse;
    use super::*;

    pub(super) fn disk() -> Vec<u8> {
        (0..=255).cycle().take(3000).collect()
    }

    pub(super) fn helping() -> Helping {
        Pulse::default().helping()
    }

    #[test]
    fn a_range_is_bounded() {
        assert_eq!(range(0, MAX_WINDOW_READ), Ok(u64::from(MAX_WINDOW_READ)));
        assert!(matches!(range(0, MAX_WINDOW_READ + 1), Err(WindowError::Invalid(_))));
        assert!(matches!(range(u64::MAX, 1), Err(WindowError::Invalid(_))));
        assert_eq!(range(u64::MAX, 0), Ok(u64::MAX));
    }
}
