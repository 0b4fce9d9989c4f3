//! What to do next while a layer travels: a state machine without I/O and without a clock. What happened goes in, with the
//! times that were measured; the next step comes out, with the pause before it.
//!
//! The registry's count is believed only where it tells the truth: in the answer to a status GET, twice the same, and in a
//! 416. Anything else that is in doubt ends the session, and a new one begins at the first byte: distribution 2.8 appends
//! whatever comes, wherever it belongs.

use std::time::Duration;

use super::manner::Manner;
use super::range::Stored;
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
    /// Failures since there was progress.
    failures: u32,
    losses: u32,
    /// What the registry said it had when it was asked last.
    last_look: Option<u64>,
    looks: u32,
    /// Where the piece begins that was sent last.
    from: u64,
}

/// The next step, and the pause before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long to wait first.
    pub after: Duration,
    /// What to do then.
    pub next: Next,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send a piece.
    Send(Piece),
    /// Ask what the registry has.
    Ask,
    /// Give this session up and open another one.
    Open,
    /// Nothing: the registry has every byte.
    Commit,
}

/// Bytes that go into one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the layer.
    pub from: u64,
    /// The most bytes it has; none for all that is left.
    pub at_most: Option<u64>,
}

/// A piece that the registry did not confirm.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// What happened.
    pub how: How,
    /// Up to where in the layer bytes were given to the connection.
    pub handed: u64,
    /// How old the request was.
    pub age: Duration,
}

/// How a piece failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The connection broke, or nothing was taken or answered for too long.
    Broke,
    /// The registry answered.
    Answered {
        /// The status.
        status: u16,
        /// What it says it has.
        stored: Stored,
        /// The pause it asks for.
        asks: Option<Duration>,
    },
    /// It wanted other credentials and there are some now.
    Renewed,
}

/// The answer to the question what the registry has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// There was none, or a status that may be another one soon.
    Nothing,
    /// The session is there.
    Stored(Stored),
    /// The registry knows no such session, or does not answer such questions.
    Unknown,
}

/// There is nothing left to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hopeless;

impl Transfer {
    /// A layer of `total` bytes, if that is known, on its way to a registry of that manner.
    #[must_use]
    pub const fn new(manner: Manner, back_off: BackOff, total: Option<u64>) -> Self {
        Self { manner, back_off, total, handed: 0, best: 0, failures: 0, losses: 0, last_look: None, looks: 0, from: 0 }
    }

    /// A session is open. `least` is the `OCI-Chunk-Min-Length` of the answer.
    #[must_use]
    pub fn opened(&mut self, least: Option<u64>) -> Step {
        if let Some(least) = least {
            self.manner.at_least(least);
        }
        self.handed = 0;
        self.send(0)
    }

    /// No session could be opened, for a reason that may pass.
    ///
    /// # Errors
    /// After the last attempt.
    pub fn not_opened(&mut self) -> Result<Step, Hopeless> {
        self.again(None, Next::Open)
    }

    /// The registry took a piece that ends at `to`; `last` if the layer does too.
    #[must_use]
    pub fn took(&mut self, to: u64, last: bool) -> Step {
        self.handed = self.handed.max(to);
        self.confirmed(to);
        if last { Step::now(Next::Commit) } else { self.send(to) }
    }

    /// A piece failed.
    ///
    /// # Errors
    /// If it is the registry's last word, or after the last attempt.
    pub fn failed(&mut self, failed: Failed) -> Result<Step, Hopeless> {
        let Failed { how, handed, age } = failed;
        self.handed = self.handed.max(handed);
        let sent = handed.saturating_sub(self.from);
        match how {
            How::Renewed => self.doubt(Some(Duration::ZERO)),
            How::Broke => {
                self.manner.broke(sent, age);
                self.doubt(None)
            }
            How::Answered { status: 413, .. } => self.shrink(),
            How::Answered { status: 416, stored, .. } => self.out_of_range(stored),
            How::Answered { status: 408 | 504, asks, .. } => {
                // It took too long for somebody: pieces that take less.
                self.manner.chunked();
                self.doubt(asks)
            }
            // The registry lost the session: it restarted, or deleted what a broken request had begun.
            How::Answered { status: 404 | 410, .. } => {
                self.losing();
                self.again(None, Next::Open)
            }
            How::Answered { status, asks, .. } if is_temporary(status) => {
                self.manner.broke(sent, age);
                self.doubt(asks)
            }
            How::Answered { .. } => Err(Hopeless),
        }
    }

    /// The commit failed, and the blob is not there: what does the registry have?
    ///
    /// # Errors
    /// After the last attempt.
    pub fn uncommitted(&mut self) -> Result<Step, Hopeless> {
        self.doubt(None)
    }

    /// The registry was asked what it has.
    ///
    /// # Errors
    /// After the last attempt.
    pub fn told(&mut self, told: Told) -> Result<Step, Hopeless> {
        match told {
            Told::Nothing => {
                self.last_look = None;
                self.again(None, Next::Ask)
            }
            Told::Unknown => self.lost(),
            Told::Stored(Stored::Bytes(stored)) if stored > self.handed => self.lost(),
            Told::Stored(Stored::Bytes(stored)) => {
                self.looks += 1;
                if self.looks > MOST_LOOKS {
                    return self.lost();
                }
                if self.last_look.replace(stored) != Some(stored) {
                    return Ok(Step { after: SETTLES_WITHIN, next: Next::Ask });
                }
                Ok(self.resume(stored))
            }
            // Nothing was sent, so nothing can be there.
            Told::Stored(Stored::AtMostOne | Stored::Unsaid) if self.handed == 0 => Ok(self.send(0)),
            Told::Stored(Stored::AtMostOne | Stored::Unsaid) => self.lost(),
        }
    }

    /// Whether the next piece is a part only.
    #[must_use]
    pub const fn is_chunked(&self) -> bool {
        self.manner.chunk().is_some()
    }

    /// A 416: about the place, or about the size.
    fn out_of_range(&mut self, stored: Stored) -> Result<Step, Hopeless> {
        match stored {
            Stored::Bytes(stored) if stored != self.from && stored <= self.handed => {
                self.failures += 1;
                self.back_off.pause(self.failures, None).ok_or(Hopeless)?;
                Ok(self.resume(stored))
            }
            // It is where the piece begins, so its length is what is wrong.
            Stored::Bytes(stored) if stored == self.from => self.shrink(),
            Stored::AtMostOne | Stored::Unsaid if self.from == 0 => self.shrink(),
            _ => self.doubt(None),
        }
    }

    /// The request was too large. That is no failure to be counted: there is an end to getting smaller.
    fn shrink(&mut self) -> Result<Step, Hopeless> {
        if !self.manner.smaller() {
            return Err(Hopeless);
        }
        (self.last_look, self.looks) = (None, 0);
        Ok(Step::now(Next::Ask))
    }

    /// Nobody knows what arrived: it is asked, after a pause.
    fn doubt(&mut self, asks: Option<Duration>) -> Result<Step, Hopeless> {
        (self.last_look, self.looks) = (None, 0);
        self.again(asks, Next::Ask)
    }

    fn again(&mut self, asks: Option<Duration>, next: Next) -> Result<Step, Hopeless> {
        self.failures += 1;
        let after = self.back_off.pause(self.failures, asks).ok_or(Hopeless)?;
        Ok(Step { after, next })
    }

    /// The session is of no use any more. There was a pause before that was asked.
    fn lost(&mut self) -> Result<Step, Hopeless> {
        self.losing();
        Ok(Step::now(Next::Open))
    }

    const fn losing(&mut self) {
        self.losses += 1;
        if self.losses >= LOSSES_BEFORE_CHUNKS {
            self.manner.chunked();
        }
    }

    fn resume(&mut self, stored: u64) -> Step {
        self.confirmed(stored);
        if self.total == Some(stored) { Step::now(Next::Commit) } else { self.send(stored) }
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

impl Step {
    const fn now(next: Next) -> Self {
        Self { after: Duration::ZERO, next }
    }
}

#[cfg(test)]
mod tests {
    use super::super::range::stored;
    use super::*;

    const MIB: u64 = 1 << 20;
    const TOTAL: u64 = 100 * MIB;
    const SECOND: Duration = Duration::from_secs(1);

    fn transfer(host: &str) -> Transfer {
        let mut transfer = Transfer::new(Manner::of(host), BackOff::new(4, SECOND, 1), Some(TOTAL));
        assert_eq!(transfer.opened(None), send(0, None));
        transfer
    }

    fn generic() -> Transfer {
        transfer("registry.example")
    }

    fn send(from: u64, at_most: Option<u64>) -> Step {
        Step::now(Next::Send(Piece { from, at_most }))
    }

    fn broke(handed: u64) -> Failed {
        Failed { how: How::Broke, handed, age: SECOND }
    }

    fn answered(status: u16, range: Option<&str>, handed: u64) -> Failed {
        Failed { how: How::Answered { status, stored: stored(range), asks: None }, handed, age: SECOND }
    }

    fn has(range: &str) -> Told {
        Told::Stored(stored(Some(range)))
    }

    /// What comes after the pause.
    fn next(step: Result<Step, Hopeless>) -> Next {
        step.unwrap().next
    }

    #[test]
    fn the_whole_in_one_request_or_chunk_by_chunk() {
        assert_eq!(generic().took(TOTAL, true), Step::now(Next::Commit));
        let mut transfer = generic();
        transfer.manner.chunked();
        assert_eq!(transfer.took(16 * MIB, false), send(16 * MIB, Some(16 * MIB)));
        assert!(transfer.is_chunked());
        assert_eq!(transfer.took(TOTAL, true), Step::now(Next::Commit));
    }

    #[test]
    fn distribution_3_goes_on_where_a_settled_count_says() {
        let mut transfer = generic();
        let step = transfer.failed(broke(5 * MIB)).unwrap();
        assert_eq!(step.next, Next::Ask);
        assert!(step.after >= SECOND, "it may still be writing");
        // The flush of the half-open request comes late.
        assert_eq!(next(transfer.told(has("0-1048575"))), Next::Ask);
        assert_eq!(next(transfer.told(has("0-2097151"))), Next::Ask);
        assert_eq!(transfer.told(has("0-2097151")), Ok(send(2 * MIB, None)));
        assert_eq!(transfer.took(TOTAL, true), Step::now(Next::Commit));
    }

    #[test]
    fn a_whole_layer_whose_answer_was_lost_is_not_sent_again() {
        let mut transfer = generic();
        transfer.failed(broke(TOTAL)).unwrap();
        let all = has(&format!("0-{}", TOTAL - 1));
        transfer.told(all).unwrap();
        assert_eq!(transfer.told(all), Ok(Step::now(Next::Commit)));
    }

    #[test]
    fn distribution_2_harbor_and_acr_lose_a_session_that_breaks() {
        let mut transfer = generic();
        transfer.failed(broke(5 * MIB)).unwrap();
        // 404 BLOB_UPLOAD_INVALID: the state token says offset 0.
        assert_eq!(next(transfer.told(Told::Unknown)), Next::Open);
        assert_eq!(transfer.opened(None), send(0, None));
        assert_eq!(transfer.handed, 0, "the new session has nothing");
        // Twice: what is confirmed chunk by chunk stays.
        transfer.failed(broke(7 * MIB)).unwrap();
        assert_eq!(next(transfer.told(Told::Unknown)), Next::Open);
        assert_eq!(transfer.opened(None), send(0, Some(16 * MIB)));
        assert_eq!(transfer.took(16 * MIB, false), send(16 * MIB, Some(16 * MIB)));
    }

    #[test]
    fn zot_deletes_a_session_that_breaks_and_cuts_after_a_minute() {
        let mut transfer = generic();
        let minute = Duration::from_secs(60);
        transfer.failed(Failed { how: How::Broke, handed: 90 * MIB, age: minute }).unwrap();
        assert_eq!(next(transfer.told(Told::Unknown)), Next::Open);
        let _ = transfer.opened(None);
        // The same as an answer: 500, and then 404 BLOB_UPLOAD_UNKNOWN.
        let cut = Failed { how: answered(500, None, 0).how, handed: 70 * MIB, age: minute + SECOND };
        transfer.failed(cut).unwrap();
        assert!(transfer.is_chunked(), "breaks at a repeatable age");
        assert_eq!(next(transfer.told(Told::Unknown)), Next::Open);
    }

    #[test]
    fn quay_takes_the_same_chunk_again() {
        let mut transfer = generic();
        transfer.manner.chunked();
        let _ = transfer.took(16 * MIB, false);
        transfer.failed(broke(20 * MIB)).unwrap();
        // The number of bytes, not the last one.
        let told = has("bytes=0-16777216");
        transfer.told(told).unwrap();
        assert_eq!(transfer.told(told), Ok(send(16 * MIB, Some(16 * MIB))));
        // A start beyond what it has: 416, with Location and Range.
        assert_eq!(transfer.failed(answered(416, Some("0-9437183"), 20 * MIB)), Ok(send(9 * MIB, Some(16 * MIB))));
    }

    #[test]
    fn ghcr_takes_only_small_chunks() {
        let mut transfer = transfer("ghcr.io");
        transfer.manner.chunked();
        assert_eq!(transfer.took(4 * MIB, false), send(4 * MIB, Some(4 * MIB)));
        // Anybody else with such a limit: the place is right, so the size is wrong.
        let mut transfer = generic();
        transfer.manner.chunked();
        for size in [8 * MIB, 4 * MIB] {
            assert_eq!(next(transfer.failed(answered(416, None, MIB))), Next::Ask);
            assert_eq!(next(transfer.told(has("0-0"))), Next::Open, "something was sent");
            assert_eq!(transfer.opened(None), send(0, Some(size)));
        }
        let _ = transfer.took(4 * MIB, false);
        assert_eq!(next(transfer.failed(answered(416, Some("0-4194303"), 4 * MIB))), Next::Ask);
        transfer.told(has("0-4194303")).unwrap();
        assert_eq!(transfer.told(has("0-4194303")), Ok(send(4 * MIB, Some(2 * MIB))));
    }

    #[test]
    fn ecr_knows_no_status_and_no_second_try() {
        let mut transfer = transfer("1.dkr.ecr.eu-west-1.amazonaws.com");
        transfer.manner.chunked();
        assert_eq!(transfer.took(10 * MIB, false), send(10 * MIB, Some(10 * MIB)));
        transfer.failed(broke(15 * MIB)).unwrap();
        assert_eq!(next(transfer.told(Told::Unknown)), Next::Open);
        // 416 BLOB_UPLOAD_INVALID to what is sent to a session from its first byte again, at a place nobody asked for.
        let _ = transfer.opened(None);
        let _ = transfer.took(10 * MIB, false);
        assert_eq!(next(transfer.failed(answered(416, None, 12 * MIB))), Next::Ask);
    }

    #[test]
    fn google_gets_no_chunks() {
        let mut transfer = transfer("europe-docker.pkg.dev");
        assert_eq!(transfer.failed(answered(413, None, MIB)), Err(Hopeless));
        transfer.failed(answered(504, None, MIB)).unwrap();
        assert!(!transfer.is_chunked());
    }

    #[test]
    fn a_proxy_that_limits_or_hurries_requests_gets_chunks() {
        for status in [408, 413, 504] {
            let mut transfer = generic();
            assert_eq!(next(transfer.failed(answered(status, None, 3 * MIB))), Next::Ask);
            // nginx buffered the request: nothing of it arrived.
            assert_eq!(next(transfer.told(has("0-0"))), Next::Open);
            assert_eq!(transfer.opened(None), send(0, Some(16 * MIB)), "{status}");
        }
        let mut transfer = generic();
        let sizes: Vec<_> = std::iter::from_fn(|| {
            transfer.failed(answered(413, None, 0)).ok()?;
            transfer.manner.chunk()
        })
        .collect();
        assert_eq!(sizes, [16, 8, 4, 2, 1].map(|size| size * MIB));
    }

    #[test]
    fn a_registry_wants_chunks_of_at_least_so_many_bytes() {
        let mut transfer = generic();
        transfer.manner.chunked();
        assert_eq!(transfer.opened(Some(20 * MIB)), send(0, Some(20 * MIB)));
        assert_eq!(transfer.opened(Some(1 << 30)), send(0, None), "more than is held");
    }

    #[test]
    fn a_count_that_nobody_can_rely_on_is_not_believed() {
        // One byte or none, and something was sent; more than was sent; nothing said.
        for told in [has("0-0"), has("0-5242880"), Told::Stored(Stored::Unsaid), has("bytes 0-9/*")] {
            let mut transfer = generic();
            transfer.failed(broke(5 * MIB)).unwrap();
            assert_eq!(next(transfer.told(told)), Next::Open, "{told:?}");
        }
        // Nothing was sent: there is nothing to be wrong about.
        for told in [has("0-0"), Told::Stored(Stored::Unsaid)] {
            let mut transfer = generic();
            transfer.failed(broke(0)).unwrap();
            assert_eq!(transfer.told(told), Ok(send(0, None)), "{told:?}");
        }
        // One that never settles.
        let mut transfer = generic();
        transfer.failed(broke(TOTAL)).unwrap();
        let looks = (1..1000).find(|look| next(transfer.told(Told::Stored(Stored::Bytes(*look)))) == Next::Open);
        assert_eq!(looks, Some(u64::from(MOST_LOOKS) + 1));
    }

    #[test]
    fn attempts_are_bounded_and_count_anew_after_progress() {
        let mut transfer = generic();
        for _ in 0..3 {
            transfer.failed(broke(MIB)).unwrap();
            let told = has("0-99");
            transfer.told(told).unwrap();
            assert_eq!(transfer.told(told), Ok(send(100, None)), "less than a MiB is no progress");
        }
        assert_eq!(transfer.failed(broke(MIB)), Err(Hopeless));
        let mut transfer = generic();
        for mib in 1..50 {
            transfer.failed(broke(mib * MIB)).unwrap();
            let told = Told::Stored(Stored::Bytes(mib * MIB));
            transfer.told(told).unwrap();
            assert_eq!(transfer.told(told).map(|step| step.after), Ok(Duration::ZERO));
        }
        // A registry that is away does not answer questions either.
        let mut transfer = generic();
        transfer.failed(broke(MIB)).unwrap();
        assert_eq!(next(transfer.told(Told::Nothing)), Next::Ask);
        assert_eq!(next(transfer.told(Told::Nothing)), Next::Ask);
        assert_eq!(transfer.told(Told::Nothing), Err(Hopeless));
        // Nor does it open sessions.
        let mut transfer = generic();
        assert_eq!((0..10).take_while(|_| transfer.not_opened().is_ok()).count(), 3);
        // To begin anew for ever is no progress.
        let mut transfer = generic();
        for _ in 0..3 {
            transfer.failed(broke(90 * MIB)).unwrap();
            assert_eq!(next(transfer.told(Told::Unknown)), Next::Open);
            let _ = transfer.opened(None);
        }
        assert_eq!(transfer.failed(broke(90 * MIB)), Err(Hopeless));
    }

    #[test]
    fn a_pause_that_is_asked_for_is_kept_and_one_too_long_is_not() {
        let asks = |seconds| How::Answered { status: 429, stored: Stored::Unsaid, asks: Some(SECOND * seconds) };
        let after = |seconds| {
            let failed = Failed { how: asks(seconds), handed: MIB, age: SECOND };
            generic().failed(failed).map(|step| step.after)
        };
        assert_eq!(after(7), Ok(SECOND * 7));
        assert_eq!(after(3600), Err(Hopeless));
    }

    #[test]
    fn other_credentials_are_used_at_once() {
        let renewed = Failed { how: How::Renewed, handed: MIB, age: SECOND };
        assert_eq!(generic().failed(renewed), Ok(Step::now(Next::Ask)));
    }

    #[test]
    fn what_a_registry_decides_stands() {
        for status in [400, 401, 403, 405, 411, 415, 501, 507] {
            assert_eq!(generic().failed(answered(status, None, MIB)), Err(Hopeless), "{status}");
        }
        // The registry restarted without `http.secret`, or deleted the session.
        for status in [404, 410] {
            assert_eq!(next(generic().failed(answered(status, None, MIB))), Next::Open, "{status}");
        }
    }

    #[test]
    fn a_commit_that_failed_is_asked_about_too() {
        let sent = || {
            let mut transfer = generic();
            let _ = transfer.took(TOTAL, true);
            assert_eq!(next(transfer.uncommitted()), Next::Ask);
            transfer
        };
        let mut transfer = sent();
        let all = Told::Stored(Stored::Bytes(TOTAL));
        transfer.told(all).unwrap();
        assert_eq!(transfer.told(all), Ok(Step::now(Next::Commit)));
        assert_eq!(next(sent().told(Told::Unknown)), Next::Open);
        let mut transfer = sent();
        assert!((0..10).take_while(|_| transfer.uncommitted().is_ok()).count() < 10);
    }
}
