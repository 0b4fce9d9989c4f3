//! The bytes of the layer, as often as they are needed: the flow itself once, the chunk at hand from memory, and what has
//! flowed past from whoever can bring it again.

mod kept;
mod layer;
#[cfg(test)]
pub(super) mod tests;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;

use kept::Kept;
use layer::Layer;

use crate::error::{Error, Result, Stage};
use crate::stream::{Flow, Replay};

/// The layer of one push. Its flow is read once and hashed once, whatever is sent how often.
pub(super) struct Supply {
    layer: Arc<Mutex<Layer>>,
    replay: Option<Arc<dyn Replay>>,
    /// A replay that is being read into chunks, and where it stands.
    again: Option<(Again, u64)>,
    kept: Kept,
}

/// The flow, lent to one request until the next one asks for it. A connection may hold on to a body that nobody waits for.
pub(super) struct Lent {
    layer: Arc<Mutex<Layer>>,
    turn: u64,
}

/// What flowed once more, up to where the flow itself stands.
pub(super) struct Again {
    flow: Flow,
    left: u64,
}

/// What a request brings that has flowed already.
pub(super) enum Before {
    /// From memory.
    Kept(VecDeque<Bytes>),
    /// From a replay.
    Again(Again),
}

/// The bytes are not to be had any more.
#[derive(Debug)]
pub(super) struct Gone;

impl Supply {
    /// A layer of `length` bytes, if that is known, whose flow begins at the offset `from`. What `replay` does not bring
    /// `cheaply` is kept for a while.
    pub(super) fn new(
        flow: Flow,
        from: u64,
        length: Option<u64>,
        replay: Option<Arc<dyn Replay>>,
        cheaply: bool,
    ) -> Self {
        let window = (!cheaply).then(|| Kept { from, to: from, bytes: VecDeque::new() });
        let layer = Layer::new(flow, from, length, window);
        Self { layer: Arc::new(Mutex::new(layer)), replay, again: None, kept: Kept::default() }
    }

    /// Lets go of what is in front of `to`, which nobody needs. Whether the layer ends there.
    ///
    /// # Errors
    /// `Gone` if it ends before, else the flow's.
    pub(super) async fn pour_away(&mut self, to: u64) -> Result<Result<bool, Gone>> {
        let lent = self.lend();
        while self.position() < to {
            match poll_fn(|cx| lent.poll_next(cx)).await.transpose() {
                Ok(Some(chunk)) => {
                    let position = self.position();
                    let from = position.saturating_sub(chunk.len() as u64);
                    self.kept = Kept { from, to: position, bytes: VecDeque::from([chunk]) };
                }
                Ok(None) => return Ok(Err(Gone)),
                Err(error) => return Err(self.failure().unwrap_or(error)),
            }
        }
        self.kept.drop_front(to);
        Ok(Ok(self.position() == to && self.at_end(&lent).await?))
    }

    /// Takes the flow back from whoever it was lent to last: a connection may read on after the answer.
    pub(super) fn take_back(&self) {
        lock(&self.layer).turn += 1;
    }

    /// Why the flow failed, once, if it did: nothing that is tried again can help.
    pub(super) fn failure(&self) -> Option<Error> {
        lock(&self.layer).failed.take()
    }

    /// Up to where the flow was given out.
    pub(super) fn position(&self) -> u64 {
        lock(&self.layer).position
    }

    /// Whether the first byte can be had.
    pub(super) fn can_begin_again(&self) -> bool {
        let in_memory = self.kept.from == 0 && self.kept.to == self.position();
        let in_window = lock(&self.layer).window.as_ref().is_some_and(|window| window.from == 0);
        in_memory || in_window || self.replay.as_ref().is_some_and(|replay| replay.from(0).is_some())
    }

    /// Everything from `from` on: what flowed already, then the flow itself.
    ///
    /// # Errors
    /// `Gone` if it cannot be had, else what keeps the replay from beginning.
    pub(super) async fn rest(&mut self, from: u64) -> Result<Result<(Option<Before>, Lent), Gone>> {
        self.again = None;
        let lent = self.lend();
        let position = self.position();
        let kept = std::mem::take(&mut self.kept);
        if from >= position {
            return Ok(if from == position { Ok((None, lent)) } else { Err(Gone) });
        }
        if kept.from <= from && kept.to == position {
            return Ok(Ok((Some(Before::Kept(kept.part(from - kept.from, position - from))), lent)));
        }
        if let Some(kept) = self.windowed(from, position - from) {
            return Ok(Ok((Some(Before::Kept(kept)), lent)));
        }
        Ok(match self.replay(from).await? {
            Some(again) => Ok((Some(Before::Again(again)), lent)),
            None => Err(Gone),
        })
    }

    /// At most `size` bytes from `from` on, in memory, and whether the layer ends with them. Fewer only at its end.
    ///
    /// # Errors
    /// `Gone` if they cannot be had, else the flow's or the replay's.
    pub(super) async fn chunk(&mut self, from: u64, size: u64) -> Result<Result<(VecDeque<Bytes>, bool), Gone>> {
        let lent = self.lend();
        if (self.kept.from..=self.kept.to).contains(&from) {
            self.kept.drop_front(from);
        } else {
            self.kept = Kept { from, to: from, bytes: VecDeque::new() };
        }
        while self.kept.to - from < size {
            let to = self.kept.to;
            let position = self.position();
            let next = if let Some(kept) = self.windowed(to, position.saturating_sub(to).min(size - (to - from))) {
                kept.into_iter().for_each(|chunk| self.kept.push(chunk));
                continue;
            } else if to < position {
                match self.again_at(to).await? {
                    Some(chunk) => Some(chunk),
                    None => return Ok(Err(Gone)),
                }
            } else if to == position {
                self.again = None;
                match poll_fn(|cx| lent.poll_next(cx)).await.transpose() {
                    Ok(next) => next,
                    Err(error) => return Err(self.failure().unwrap_or(error)),
                }
            } else {
                return Ok(Err(Gone));
            };
            let Some(chunk) = next else { break };
            self.kept.push(chunk);
        }
        let to = self.kept.to.min(from.saturating_add(size));
        let ends = to == self.kept.to && to == self.position() && self.at_end(&lent).await?;
        Ok(Ok((self.kept.first(to - from), ends)))
    }

    /// At least one byte from `from` on, if that many are in the window.
    fn windowed(&self, from: u64, bytes: u64) -> Option<VecDeque<Bytes>> {
        let layer = lock(&self.layer);
        let window = layer.window.as_ref()?;
        (bytes > 0 && window.from <= from && from + bytes <= window.to).then(|| window.part(from - window.from, bytes))
    }

    /// The next bytes of a replay that stands at `at`.
    async fn again_at(&mut self, at: u64) -> Result<Option<Bytes>> {
        if self.again.as_ref().is_none_or(|(_, stands)| *stands != at) {
            self.again = self.replay(at).await?.map(|again| (again, at));
        }
        let Some((again, stands)) = &mut self.again else { return Ok(None) };
        let chunk = poll_fn(|cx| again.poll_next(cx)).await.transpose()?;
        *stands += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Ok(chunk)
    }

    async fn replay(&self, from: u64) -> Result<Option<Again>> {
        let left = self.position().saturating_sub(from);
        match self.replay.as_ref().and_then(|replay| replay.from(from)) {
            Some(reading) => Ok(Some(Again { flow: reading.await?, left })),
            None => Ok(None),
        }
    }

    /// Whether nothing follows what was given out. Waits for the next bytes if nobody knows how many there are.
    async fn at_end(&self, lent: &Lent) -> Result<bool> {
        poll_fn(|cx| lock(&lent.layer).poll_hold(cx)).await?;
        Ok(lock(&self.layer).is_spent())
    }

    fn lend(&self) -> Lent {
        let mut layer = lock(&self.layer);
        layer.turn += 1;
        Lent { layer: Arc::clone(&self.layer), turn: layer.turn }
    }
}

impl Lent {
    /// The next bytes of the flow.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.poll_at_most(usize::MAX, cx)
    }

    /// The next bytes of the flow, at most so many. The last ones come only once the flow has ended well: a registry never has
    /// all bytes of a flow that failed at its very end.
    pub(super) fn poll_at_most(&self, most: usize, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let mut layer = lock(&self.layer);
        if layer.turn != self.turn {
            let why = "a request asked for bytes that were lent to the next one";
            return Poll::Ready(Some(Err(Error::internal(Stage::Upload, why))));
        }
        let next = layer.poll_at_most(most, cx);
        if let Poll::Ready(Some(Err(error))) = next {
            let told = Error::internal(Stage::Upload, "a request asked for bytes of a layer that has failed");
            // The first failure is the cause of every other.
            layer.failed.get_or_insert(error);
            return Poll::Ready(Some(Err(told)));
        }
        next
    }

    /// Whether the flow has ended and all of it was given out.
    pub(super) fn is_spent(&self) -> bool {
        lock(&self.layer).is_spent()
    }
}

impl Again {
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut chunk = match self.flow.poll_next(cx) {
            Poll::Ready(Some(Ok(chunk))) => chunk,
            Poll::Ready(None) => {
                let message = format!("what was to be sent again ended {} bytes early", self.left);
                return Poll::Ready(Some(Err(Error::internal(Stage::Upload, message))));
            }
            other => return other,
        };
        chunk.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left = self.left.saturating_sub(chunk.len() as u64);
        Poll::Ready(Some(Ok(chunk)))
    }
}

fn lock(layer: &Arc<Mutex<Layer>>) -> MutexGuard<'_, Layer> {
    layer.lock().unwrap_or_else(PoisonError::into_inner)
}
