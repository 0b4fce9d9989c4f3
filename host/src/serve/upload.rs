//! One upload: an import, and the client that brings its disk, at once or in parts.
//!
//! Its offset is what the import's pipe took. While the client is away, between two parts or because its connection broke,
//! the import waits; only one request at a time brings bytes, and the latest one does: the one before may be of a connection
//! whose end nobody has noticed yet.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::time::{sleep_until, timeout};

use super::answer::Refused;
use super::pace::{Pace, Patience};
use super::refusal::Refusal;
use super::worker::Meters;
use crate::error::{Code, Error, Result, Stage};
use crate::net::Arriving;
use crate::oci::Tag;
use crate::pipeline::{Bringer, Imported, Interrupt, NobodyTakes, Report};

/// An upload.
pub(super) struct Upload {
    pub(super) id: String,
    /// Bytes of all of it, if they are known.
    pub(super) length: Option<u64>,
    /// The tags that the image is to get.
    pub(super) tags: Vec<Tag>,
    /// Whether the client may go away and come back.
    pub(super) in_parts: bool,
    bounds: Bounds,
    interrupt: Interrupt,
    /// The import's own.
    pub(super) meters: Meters,
    state: RefCell<State>,
    changed: watch::Sender<()>,
}

/// What a client may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) stall: Duration,
    /// Bytes per second.
    pub(super) least_rate: u64,
    pub(super) away: Duration,
    pub(super) max_bytes: Option<u64>,
}

/// What became of an import.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcome: Result<Imported>,
    /// None only if it could not even begin.
    pub(super) report: Option<Report>,
}

/// What became of a request that brought bytes.
pub(super) enum Came {
    /// All of its bytes were taken, and more are wanted.
    Part,
    /// The import has ended, one way or the other.
    End(Rc<Ended>),
    /// Not all of its bytes were taken.
    Refused(Refused),
}

struct State {
    /// Whoever has the turn has it.
    bringer: Option<Bringer>,
    accepted: u64,
    /// Everything has come.
    whole: bool,
    /// Which request's turn it is.
    turn: u64,
    /// Since when nobody brings anything.
    away_since: Option<Instant>,
    /// How fast it came, over the whole upload, and how long the client may be away.
    pace: Pace,
    patience: Patience,
    ended: Option<Rc<Ended>>,
}

impl Upload {
    /// An upload for an import that has begun.
    pub(super) fn new(
        (id, length, tags): (String, Option<u64>, Vec<Tag>),
        in_parts: bool,
        bounds: Bounds,
        (bringer, interrupt, meters): (Bringer, Interrupt, Meters),
    ) -> Self {
        let away_since = in_parts.then(Instant::now);
        let (pace, patience) =
            (Pace::new(bounds.stall, bounds.least_rate), Patience::new(bounds.away, bounds.least_rate));
        let bringer = Some(bringer);
        let state = State { bringer, accepted: 0, whole: false, turn: 0, away_since, pace, patience, ended: None };
        let (changed, _) = watch::channel(());
        Self { id, length, tags, in_parts, bounds, interrupt, meters, state: RefCell::new(state), changed }
    }

    /// Where the client goes on.
    pub(super) fn offset(&self) -> u64 {
        self.state.borrow().accepted
    }

    /// Whether everything has come.
    pub(super) fn is_whole(&self) -> bool {
        self.state.borrow().whole
    }

    /// What became of it, if it has ended.
    pub(super) fn ended(&self) -> Option<Rc<Ended>> {
        self.state.borrow().ended.clone()
    }

    /// Ends the import, because of `error` unless it is ending already.
    pub(super) fn fail(&self, error: Error) {
        self.interrupt.fail(error);
    }

    /// Ends the import as a signal does.
    pub(super) fn end(&self, code: Code) {
        self.interrupt.end(code);
    }

    /// Waits for the import's end.
    pub(super) async fn end_of_it(&self) -> Rc<Ended> {
        self.until(|state| state.ended.clone()).await
    }

    /// Stays with the import until it has ended, and ends it if the client is away for too long.
    pub(super) async fn attend(&self, mut ended: oneshot::Receiver<Ended>) -> Rc<Ended> {
        let ended = loop {
            let mut changed = self.changed.subscribe();
            let until = {
                let state = self.state.borrow();
                state.away_since.and_then(|since| since.checked_add(state.patience.left()))
            };
            let away = async {
                match until {
                    Some(until) => sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = &mut ended => break ended,
                _ = changed.changed() => {}
                () = away => {
                    self.state.borrow_mut().away_since = None;
                    let away = self.bounds.away.as_secs();
                    self.fail(self.cut(&format!("and stayed away for {away} s in all")));
                }
            }
        };
        let ended = Rc::new(ended.unwrap_or_else(|_| Ended {
            outcome: Err(Error::internal(Stage::Plan, "the import's thread ended over a bug")),
            report: None,
        }));
        let mut state = self.state.borrow_mut();
        state.ended = Some(Rc::clone(&ended));
        (state.bringer, state.away_since) = (None, None);
        drop(state);
        self.changed.send_replace(());
        ended
    }

    /// Takes what a request brings, which begins at `from`. With the last byte, waits for the import's end.
    pub(super) async fn bring(&self, body: &mut Arriving, from: u64) -> Came {
        let mut turn = match self.turn(from).await {
            Ok(turn) => turn,
            Err(came) => return came,
        };
        if let (true, Some(length), Some(part)) = (self.in_parts, self.length, body.length())
            && from.saturating_add(part) > length
        {
            return Came::Refused(Refused::new(Refusal::Malformed, beyond(length)));
        }
        loop {
            let Some(bringer) = &turn.bringer else { return Came::End(self.end_of_it().await) };
            let ready = tokio::select! {
                biased;
                came = self.lost(turn.number) => return came,
                ready = bringer.ready() => ready,
            };
            if let Err(NobodyTakes) = ready {
                // Whatever it is, the import is about to say it.
                return Came::End(self.end_of_it().await);
            }
            let began = Instant::now();
            turn.waiting = Some(began);
            let next = tokio::select! {
                biased;
                came = self.lost(turn.number) => return came,
                next = timeout(self.bounds.stall, body.next()) => next,
            };
            match next {
                Ok(Some(Ok(chunk))) => {
                    turn.waiting = None;
                    let slow = self.state.borrow_mut().pace.came(chunk.len(), began.elapsed());
                    if let Some(rate) = slow {
                        self.fail(self.slow(rate));
                        return Came::End(self.end_of_it().await);
                    }
                    match self.within(chunk.len()) {
                        Ok(accepted) => {
                            bringer.bring(chunk);
                            self.state.borrow_mut().accepted = accepted;
                        }
                        Err(Beyond::Length(message)) => {
                            turn.spoiled = true;
                            self.fail(Error::new(Code::SourceLengthMismatch, Stage::Source, message));
                            return Came::End(self.end_of_it().await);
                        }
                        Err(Beyond::Bound(error)) => {
                            self.fail(error);
                            return Came::End(self.end_of_it().await);
                        }
                    }
                }
                Ok(None) if self.length.is_none_or(|length| length == self.offset()) => {
                    turn.finish();
                    return Came::End(self.end_of_it().await);
                }
                Ok(None) if self.in_parts => return Came::Part,
                Ok(None | Some(Err(_))) if !self.in_parts => {
                    self.fail(self.cut("before its end"));
                    return Came::End(self.end_of_it().await);
                }
                Ok(None | Some(Err(_))) => {
                    return Came::Refused(Refused::new(Refusal::Malformed, "the part did not arrive whole"));
                }
                Err(_) => {
                    let seconds = self.bounds.stall.as_secs();
                    let message = format!("the client sent nothing for {seconds} s, behind {} bytes", self.offset());
                    if self.in_parts {
                        return Came::Refused(Refused::new(Refusal::Stalled, message));
                    }
                    self.fail(Error::new(Code::SourceStalled, Stage::Source, message));
                    return Came::End(self.end_of_it().await);
                }
            }
        }
    }

    /// The turn of a request that goes on at `from`; every other one's is over.
    async fn turn(&self, from: u64) -> Result<Turn<'_>, Came> {
        // There is nothing to go on with, but perhaps an end to wait for.
        if self.is_whole() && from == self.offset() {
            return Err(Came::End(self.end_of_it().await));
        }
        let number = {
            let mut state = self.state.borrow_mut();
            state.turn += 1;
            state.turn
        };
        self.changed.send_replace(());
        let bringer = self.until(|state| match &state.ended {
            Some(ended) => Some(Err(Came::End(Rc::clone(ended)))),
            None if state.turn != number => Some(Err(Came::Refused(taken_over()))),
            None if state.whole => Some(Err(Came::Refused(mismatch(state.accepted, from)))),
            None => {
                let bringer = state.bringer.take()?;
                if state.accepted != from {
                    let refused = mismatch(state.accepted, from);
                    state.bringer = Some(bringer);
                    return Some(Err(Came::Refused(refused)));
                }
                let since = state.away_since.take();
                Some(Ok((bringer, since)))
            }
        });
        let (bringer, since) = bringer.await?;
        let began = Instant::now();
        Ok(Turn { upload: self, bringer: Some(bringer), number, spoiled: false, from, since, began, waiting: None })
    }

    /// Resolves when the turn `number` is over for its request.
    async fn lost(&self, number: u64) -> Came {
        self.until(|state| match &state.ended {
            Some(ended) => Some(Came::End(Rc::clone(ended))),
            None if state.turn != number => Some(Came::Refused(taken_over())),
            None => None,
        })
        .await
    }

    async fn until<T>(&self, there: impl Fn(&mut State) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(there) = there(&mut self.state.borrow_mut()) {
                return there;
            }
            // The sender lives as long as this.
            let _ = changed.changed().await;
        }
    }

    /// The offset behind so many bytes more, if they may come.
    fn within(&self, bytes: usize) -> Result<u64, Beyond> {
        let accepted = self.offset().saturating_add(bytes as u64);
        match (self.length, self.bounds.max_bytes) {
            (Some(length), _) if accepted > length => Err(Beyond::Length(beyond(length))),
            (_, Some(most)) if accepted > most => Err(Beyond::Bound(too_large(most, None))),
            _ => Ok(accepted),
        }
    }

    /// The error of an upload whose client left.
    fn cut(&self, how: &str) -> Error {
        let offset = self.offset();
        let of = self.length.map_or_else(String::new, |length| format!(" of {length}"));
        Error::new(
            Code::SourceTruncated,
            Stage::Source,
            format!("the client went away after {offset}{of} bytes, {how}"),
        )
    }

    fn slow(&self, rate: u64) -> Error {
        let (seconds, least) = (self.bounds.stall.as_secs(), self.bounds.least_rate);
        let message = format!("the client sent {rate} bytes per second over {seconds} s, expected at least {least}");
        Error::new(Code::SourceStalled, Stage::Source, message)
    }
}

/// The error of an upload beyond the bound, whose length is known if it is known beforehand.
pub(super) fn too_large(most: u64, length: Option<u64>) -> Error {
    let has = length.map_or_else(|| "more".to_owned(), |length| format!("{length} bytes"));
    Error::new(Code::SourceTooLarge, Stage::Source, format!("the upload has {has}, expected at most {most} bytes"))
}

fn beyond(length: u64) -> String {
    format!("the client sends more than the {length} bytes of the upload")
}

fn taken_over() -> Refused {
    Refused::new(Refusal::TakenOver, "another request has gone on with this upload")
}

fn mismatch(accepted: u64, from: u64) -> Refused {
    Refused::new(
        Refusal::OffsetMismatch,
        format!("the upload stands at {accepted}, expected to go on there, not at {from}"),
    )
    .hint("ask for the offset with HEAD, and go on there")
}

enum Beyond {
    /// Of the upload's own length: what to say of it.
    Length(String),
    /// Of what is taken in.
    Bound(Error),
}

/// The turn of one request. However it ends, the bringer goes back: for the next one, or for the import to be ended first.
struct Turn<'a> {
    upload: &'a Upload,
    bringer: Option<Bringer>,
    number: u64,
    /// More came than all of it: what came is not to be finished.
    spoiled: bool,
    /// Where the upload stood as it began, since when nobody had been there, and when it was.
    from: u64,
    since: Option<Instant>,
    began: Instant,
    /// Since when bytes are waited for. Where none come any more, the client was away for as long.
    waiting: Option<Instant>,
}

impl Turn<'_> {
    /// Everything has come.
    fn finish(&mut self) {
        if let Some(bringer) = self.bringer.take() {
            self.upload.state.borrow_mut().whole = true;
            bringer.finish();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Of an upload in parts, whoever began it said how long it is: with the last byte it is whole, however the part ended
        // that brought it. Of one body its end is waited for.
        if self.upload.in_parts && !self.spoiled && self.upload.length == Some(self.upload.offset()) {
            self.finish();
        }
        let Some(bringer) = self.bringer.take() else { return };
        let upload = self.upload;
        {
            let mut state = upload.state.borrow_mut();
            if state.ended.is_some() {
                return;
            }
            state.bringer = Some(bringer);
            // Who came back and brought nothing was never here.
            let brought = state.accepted.saturating_sub(self.from);
            let since = match self.since {
                Some(since) if brought == 0 => since,
                since => {
                    let before = since.map_or(Duration::ZERO, |since| self.began.saturating_duration_since(since));
                    let within = self.waiting.map_or(Duration::ZERO, |since| since.elapsed());
                    state.patience.back(before.saturating_add(within), brought);
                    Instant::now()
                }
            };
            state.away_since = upload.in_parts.then_some(since);
        }
        // A client that is gone without a word; of whatever was said before, the first counts.
        if !upload.in_parts {
            upload.fail(upload.cut("before its end"));
        }
        upload.changed.send_replace(());
    }
}
