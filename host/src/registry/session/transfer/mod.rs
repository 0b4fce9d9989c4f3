//! What to do next while a layer travels: a state machine without I/O and without a clock. What happened goes in, with the
//! times that were measured ([`Transfer::now`]); the next step comes out, with the pause before it.
//!
//! The registry's count is believed only where it tells the truth: in the answer to a status GET, twice the same, and in a
//! 416. Anything else that is in doubt ends the session, and a new one begins at the first byte: distribution 2.8 appends
//! whatever comes, wherever it belongs.

use std::time::Duration;

#[cfg(test)]
mod recorded;
mod step;

pub use step::{Failed, Hopeless, How, Next, Piece, Step, Told};

use super::manner::Manner;
use super::range::Stored;
use super::transition::Transition;
use crate::registry::retry::{BackOff, is_temporary};

/// The pause between two looks at what a registry has: it may still be writing what had arrived.
const SETTLES_WITHIN: Duration = Duration::from_millis(250);
/// After so many looks at a count that does not settle, nothing is believed any more.
const MOST_LOOKS: u32 = 40;
/// Less is no progress: a connection that breaks every few bytes is tried no more often than one that breaks at once.
const PROGRESS: u64 = 1 << 20;
/// After so many sessions that were lost with what they had, chunks are sent where a registry takes them: it keeps those.
const LOSSES_BEFORE_CHUNKS: u32 = 2;

/// The course of one layer.
#[derive(Clone, Debug)]
pub struct Transfer {
    manner: Manner,
    back_off: BackOff,
    /// The layer's length, if it is known before its end.
    total: Option<u64>,
    /// Up to where bytes were given to the connection, in this session.
    handed: u64,
    /// The most that a registry had confirmed, in any session, when there was progress last.
    best: u64,
    /// Failures since there was progress, and when the first of them was.
    failures: u32,
    failing_since: Duration,
    /// When it is, from any moment on.
    now: Duration,
    /// Whether it is over because it went on for too long.
    out_of_time: bool,
    losses: u32,
    /// What the registry said it had when it was asked last.
    last_look: Option<u64>,
    looks: u32,
    /// Where the piece begins that was sent last.
    from: u64,
    /// Where a 416 said that it should.
    placed: Option<u64>,
    /// What happened last.
    taken: Option<Transition>,
}

impl Transfer {
    /// A layer of `total` bytes, if that is known, on its way to a registry of that manner.
    #[must_use]
    pub const fn new(manner: Manner, back_off: BackOff, total: Option<u64>) -> Self {
        Self {
            manner,
            back_off,
            total,
            handed: 0,
            best: 0,
            failures: 0,
            failing_since: Duration::ZERO,
            now: Duration::ZERO,
            out_of_time: false,
            losses: 0,
            last_look: None,
            looks: 0,
            from: 0,
            placed: None,
            taken: None,
        }
    }

    /// What happened last, once.
    #[must_use]
    pub const fn taken(&mut self) -> Option<Transition> {
        self.taken.take()
    }

    /// What is told next happened so long after a moment that is the same for the whole transfer.
    pub const fn now(&mut self, now: Duration) {
        self.now = now;
    }

    /// How long an answer may be waited for that is needed to go on: what is tried in a row has an end.
    #[must_use]
    pub const fn left(&self) -> Duration {
        self.back_off.left(self.failing())
    }

    /// How long it had failed in a row, if that is why it is over.
    #[must_use]
    pub fn out_of_time(&self) -> Option<Duration> {
        self.out_of_time.then(|| self.failing())
    }

    /// A session is open. `least` is the `OCI-Chunk-Min-Length` of the answer.
    #[must_use]
    pub fn opened(&mut self, least: Option<u64>) -> Step {
        if let Some(least) = least {
            self.manner.at_least(least);
        }
        self.handed = 0;
        self.by(Transition::Opened).send(0)
    }

    /// A session is open that has `stored` bytes of the layer, as the registry says itself, from another process of ours.
    #[must_use]
    pub fn continued(&mut self, least: Option<u64>, stored: u64) -> Step {
        if let Some(least) = least {
            self.manner.at_least(least);
        }
        self.handed = stored;
        self.by(Transition::Resumed).resume(stored)
    }

    /// No session could be opened, for a reason that may pass.
    ///
    /// # Errors
    /// After the last attempt.
    pub fn not_opened(&mut self) -> Result<Step, Hopeless> {
        self.by(Transition::NotOpened).again(None, Next::Open)
    }

    /// The registry took a piece that ends at `to`; `last` if the layer does too.
    #[must_use]
    pub fn took(&mut self, to: u64, last: bool) -> Step {
        self.handed = self.handed.max(to);
        self.flowed(to.saturating_sub(self.from));
        self.confirmed(to);
        if last {
            self.taken = Some(Transition::AllTaken);
            return Step::now(Next::Commit);
        }
        self.manner.took();
        self.by(Transition::ChunkTaken).send(to)
    }

    /// A piece failed.
    ///
    /// # Errors
    /// If it is the registry's last word, or after the last attempt.
    pub fn failed(&mut self, failed: Failed) -> Result<Step, Hopeless> {
        let Failed { how, handed, age } = failed;
        self.handed = self.handed.max(handed);
        let sent = handed.saturating_sub(self.from);
        self.flowed(sent);
        match how {
            How::Renewed => self.by(Transition::Renewed).doubt(None).map(|step| Step { after: Duration::ZERO, ..step }),
            How::Broke => {
                self.pattern(sent, age);
                self.by(Transition::Broke).doubt(None)
            }
            How::Answered { status: 413, .. } => self.shrink(),
            How::Answered { status: 416, stored, .. } => self.out_of_range(stored),
            How::Answered { status: 408 | 504, asks, .. } => {
                // It took too long for somebody: pieces that take less.
                if self.manner.chunked() {
                    self.in_another_manner();
                }
                self.by(Transition::TookTooLong).doubt(asks)
            }
            // The registry lost the session: it restarted, or deleted what a broken request had begun.
            How::Answered { status: 404 | 410, .. } => {
                self.losing();
                self.by(Transition::SessionUnknown).again(None, Next::Open)
            }
            How::Answered { status, asks, .. } if is_temporary(status) => {
                // Who answers does not mean the size of a chunk.
                if !self.is_chunked() {
                    self.manner.broke(sent, age);
                }
                self.by(Transition::FailedForNow).doubt(asks)
            }
            How::Answered { .. } => self.refused(),
        }
    }

    /// The commit failed, and the blob is not there: what does the registry have?
    ///
    /// # Errors
    /// After the last attempt.
    pub fn uncommitted(&mut self) -> Result<Step, Hopeless> {
        self.by(Transition::Uncommitted).doubt(None)
    }

    /// The registry was asked what it has.
    ///
    /// # Errors
    /// After the last attempt.
    pub fn told(&mut self, told: Told) -> Result<Step, Hopeless> {
        match told {
            Told::Nothing => {
                self.last_look = None;
                self.by(Transition::Unanswered).again(None, Next::Ask)
            }
            Told::Unknown => self.lost(Transition::Lost),
            Told::Stored(Stored::Bytes(stored)) if stored > self.handed => self.lost(Transition::ClaimsTooMuch),
            Told::Stored(Stored::Bytes(stored)) => {
                self.looks += 1;
                if self.looks > MOST_LOOKS {
                    return self.lost(Transition::Unsettled);
                }
                if self.last_look.replace(stored) != Some(stored) {
                    self.taken = Some(Transition::Settling);
                    return Ok(Step { after: SETTLES_WITHIN, next: Next::Ask });
                }
                Ok(self.by(Transition::Resumed).resume(stored))
            }
            // Nothing was sent, so nothing can be there.
            Told::Stored(Stored::AtMostOne | Stored::Unsaid) if self.handed == 0 => {
                Ok(self.by(Transition::Begins).send(0))
            }
            Told::Stored(Stored::AtMostOne | Stored::Unsaid) => self.lost(Transition::NothingKept),
        }
    }

    /// Whether the next piece is a part only.
    #[must_use]
    pub const fn is_chunked(&self) -> bool {
        self.manner.chunk().is_some()
    }

    /// Learns from a break.
    fn pattern(&mut self, sent: u64, age: Duration) {
        if self.manner.broke(sent, age) {
            self.in_another_manner();
        }
    }

    /// A 416: about the place, or about the size.
    fn out_of_range(&mut self, stored: Stored) -> Result<Step, Hopeless> {
        match stored {
            Stored::Bytes(stored) if stored != self.from && stored <= self.handed => {
                // Counted, but not waited for: it said where to go on.
                self.by(Transition::Misplaced).again(None, Next::Ask)?;
                self.placed = Some(stored);
                Ok(self.resume(stored))
            }
            // Where it had said itself: Quay's 416 has the count where others have the last byte, so it is one too many.
            Stored::Bytes(stored) if stored == self.from && self.placed.take() == Some(stored) => {
                self.by(Transition::OutOfRange).doubt(None)
            }
            // It is where the piece begins, so its length is what is wrong.
            Stored::Bytes(stored) if stored == self.from => self.shrink(),
            Stored::AtMostOne | Stored::Unsaid if self.from == 0 => self.shrink(),
            _ => self.by(Transition::OutOfRange).doubt(None),
        }
    }

    /// The request was too large. That is no failure to be counted: there is an end to getting smaller.
    fn shrink(&mut self) -> Result<Step, Hopeless> {
        if !self.manner.smaller() {
            return self.refused();
        }
        self.taken = Some(Transition::TooLarge);
        (self.last_look, self.looks) = (None, 0);
        Ok(Step::now(Next::Ask))
    }

    /// Nobody knows what arrived: it is asked, after a pause.
    fn doubt(&mut self, asks: Option<Duration>) -> Result<Step, Hopeless> {
        (self.last_look, self.looks) = (None, 0);
        self.again(asks, Next::Ask)
    }

    fn again(&mut self, asks: Option<Duration>, next: Next) -> Result<Step, Hopeless> {
        if self.failures == 0 {
            self.failing_since = self.now;
        }
        self.failures += 1;
        match self.back_off.pause(self.failures, asks, self.failing()) {
            Some(after) => Ok(Step { after, next }),
            None => {
                self.out_of_time = self.back_off.is_out_of_time(self.failures, asks, self.failing());
                self.taken = Some(Transition::GivenUp);
                Err(Hopeless)
            }
        }
    }

    /// So many bytes flowed: as long as they do, nothing fails, however often it begins again.
    const fn flowed(&mut self, bytes: u64) {
        if bytes >= PROGRESS {
            self.failing_since = self.now;
        }
    }

    const fn failing(&self) -> Duration {
        if self.failures == 0 { Duration::ZERO } else { self.now.saturating_sub(self.failing_since) }
    }

    const fn refused(&mut self) -> Result<Step, Hopeless> {
        self.taken = Some(Transition::Refused);
        Err(Hopeless)
    }

    const fn by(&mut self, transition: Transition) -> &mut Self {
        self.taken = Some(transition);
        self
    }

    /// The session is of no use any more. There was a pause before that was asked.
    fn lost(&mut self, why: Transition) -> Result<Step, Hopeless> {
        self.taken = Some(why);
        self.losing();
        Ok(Step::now(Next::Open))
    }

    const fn losing(&mut self) {
        self.losses += 1;
        if self.losses >= LOSSES_BEFORE_CHUNKS && self.manner.chunked() {
            self.in_another_manner();
        }
    }

    /// What is tried in another manner is no repetition: there is an end to manners.
    const fn in_another_manner(&mut self) {
        self.failures = self.failures.saturating_sub(1);
    }

    fn resume(&mut self, stored: u64) -> Step {
        self.confirmed(stored);
        if self.total == Some(stored) {
            self.taken = Some(Transition::Complete);
            return Step::now(Next::Commit);
        }
        self.send(stored)
    }

    fn confirmed(&mut self, to: u64) {
        if to >= self.best.saturating_add(PROGRESS) {
            self.best = to;
            self.failures = 0;
        }
    }

    const fn send(&mut self, from: u64) -> Step {
        self.from = from;
        Step::now(Next::Send(Piece { from, at_most: self.manner.chunk() }))
    }
}
