//! The layer on its way: what [`Transfer`] decides is done, what came of it is told to it.

mod steps;

use std::sync::Arc;
use std::time::Instant;

use url::Url;

use super::flow_body::SendClock;
use super::session::{HELD_CHUNK, Hopeless, Piece, Step, Transfer};
use super::supply::{Before, Gone, Lent, Supply};
use crate::error::{Error, Result};
use crate::observe::Repeats;
use crate::stream::{self, Flow};

/// The layer of a push.
pub(super) struct Upload {
    supply: Supply,
    transfer: Transfer,
    total: Option<u64>,
    repeats: Arc<Repeats>,
    /// Up to where bytes were given to a connection, in any session.
    sent: u64,
    /// Whether the next piece follows a failure.
    repeating: bool,
    /// What failed last.
    last_error: Option<Error>,
    began: Instant,
}

/// A layer about to be sent.
pub struct Travelling {
    /// Its bytes.
    pub flow: Flow,
    /// The offset in the layer at which they begin.
    pub from: u64,
    /// The layer's length, if it is known before its end.
    pub length: Option<u64>,
    /// What can bring it again.
    pub replay: Option<Arc<dyn stream::Replay>>,
    /// Whether that costs no more than what is brought: else its last bytes are kept in memory.
    pub cheaply: bool,
}

/// A body and its length, if that is known.
struct Body {
    parts: (Option<Before>, Option<Lent>),
    length: Option<u64>,
    /// Whether the layer ends with it.
    last: bool,
}

/// A piece on its way: what a failure is told with.
struct Sending {
    what: String,
    url: Url,
    clock: SendClock,
    began: Instant,
}

impl Upload {
    pub(super) fn new(layer: Travelling, transfer: Transfer, repeats: Arc<Repeats>) -> Self {
        let Travelling { flow, from, length: total, replay, cheaply } = layer;
        let supply = Supply::new(flow, from, total, replay, cheaply);
        Self { supply, transfer, total, repeats, sent: 0, repeating: false, last_error: None, began: Instant::now() }
    }

    /// The commit failed with that error although every byte had been sent.
    ///
    /// # Errors
    /// The same after the last attempt.
    pub(super) fn uncommitted(&mut self, error: Error) -> Result<Step> {
        let step = self.timed().uncommitted();
        self.note();
        match step {
            Ok(step) => {
                (self.repeating, self.last_error) = (true, Some(error));
                Ok(step)
            }
            Err(Hopeless) => Err(self.hopeless(error)),
        }
    }

    /// The transfer, which knows what time it is.
    fn timed(&mut self) -> &mut Transfer {
        self.transfer.now(self.began.elapsed());
        &mut self.transfer
    }

    /// The error that is the last one, with why nothing is tried any more if it does not say that itself.
    fn hopeless(&self, error: Error) -> Error {
        match self.transfer.out_of_time() {
            Some(failing) => error.context(format!("it failed for {} s in a row (`limits.total`)", failing.as_secs())),
            None => error,
        }
    }

    /// Counts what the transfer did last.
    fn note(&mut self) {
        if let Some(transition) = self.transfer.taken() {
            self.repeats.went(transition.as_str());
        }
    }

    /// The body of a piece.
    async fn body(&mut self, piece: Piece) -> Result<Result<Body, Gone>> {
        let Some(size) = piece.at_most else {
            let length = self.total.map(|total| total.saturating_sub(piece.from));
            let rest = self.supply.rest(piece.from).await?;
            return Ok(rest.map(|(before, lent)| Body { parts: (before, Some(lent)), length, last: true }));
        };
        // A larger one is not held: it comes again as it came.
        if let Some(total) = self.total.filter(|_| size > HELD_CHUNK) {
            let left = total.saturating_sub(piece.from);
            let rest = self.supply.rest(piece.from).await?;
            let body =
                |(before, lent)| Body { parts: (before, Some(lent)), length: Some(size.min(left)), last: left <= size };
            return Ok(rest.map(body));
        }
        let chunk = self.supply.chunk(piece.from, size).await?;
        Ok(chunk.map(|(chunk, last)| {
            let length = chunk.iter().map(|bytes| bytes.len() as u64).sum();
            Body { parts: (Some(Before::Kept(chunk)), None), length: Some(length), last }
        }))
    }
}
