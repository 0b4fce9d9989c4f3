//! What a flow costs and waits for, measured where it passes.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Chunks, Flow};
use crate::error::Result;
use crate::observe::{Meter, Place, Span};

/// Measures `stage` where its bytes come out.
#[must_use]
pub fn metered(flow: Flow, stage: Place) -> Flow {
    Flow::through(Metered { flow, stage, behind: None, left: None })
}

/// The same where the flow ends: what is `behind` has no output to be measured at.
#[must_use]
pub fn metered_into(flow: Flow, stage: Place, behind: Place) -> Flow {
    Flow::through(Metered { flow, stage, behind: Some(behind), left: None })
}

struct Metered {
    flow: Flow,
    stage: Place,
    behind: Option<Place>,
    left: Option<Left>,
}

/// The end of the last poll.
struct Left {
    at: Instant,
    /// Whether there was nothing to give.
    pending: bool,
    /// How long the stages on either side had worked by then.
    before: Duration,
    behind: Duration,
}

impl Metered {
    /// What passed since the last poll, without the work that either side did meanwhile: its network is another task.
    fn was_away(&self, left: &Left, now: Instant) {
        let away = now.duration_since(left.at);
        let out: &Meter = &self.stage.out;
        let idle = away.saturating_sub(self.stage.busy().saturating_sub(left.before));
        waited(out, idle, left.pending);
        let Some(behind) = &self.behind else { return };
        let idle = away.saturating_sub(behind.busy().saturating_sub(left.behind));
        waited(&behind.out, idle, left.pending);
    }
}

fn waited(meter: &Meter, idle: Duration, for_input: bool) {
    if for_input {
        meter.waited_for_input(idle);
    } else {
        meter.waited_for_output(idle);
    }
}

impl Chunks for Metered {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let span = Span::enter();
        let began = span.began;
        if let Some(left) = self.left.take() {
            self.was_away(&left, began);
        }
        let busy = self.stage.busy();
        let next = self.flow.poll_next(cx);
        let (ended, own) = span.leave();
        self.stage.out.was_busy(own);
        let (inside, before) = (ended.duration_since(began), self.stage.busy());
        // What worked in here and is not this stage's is upstream of it.
        self.stage.out.waited_for_input(inside.saturating_sub(before.saturating_sub(busy)));
        if let Some(behind) = &self.behind {
            behind.out.waited_for_input(inside);
        }
        if let Poll::Ready(Some(Ok(chunk))) = &next {
            self.stage.out.passed(chunk.len());
        }
        let behind = self.behind.as_ref().map(Place::busy).unwrap_or_default();
        self.left = Some(Left { at: ended, pending: next.is_pending(), before, behind });
        next
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        // What the last chunk or the end was followed by: a registry that answers, a disk that is slow to sync.
        if let Some(left) = self.left.take() {
            self.was_away(&left, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread::sleep;

    use super::super::flow::tests::flow;
    use super::*;

    const STEP: Duration = Duration::from_millis(20);

    struct Slow {
        flow: Flow,
        upstream: Arc<Meter>,
        worker: Arc<Meter>,
    }

    impl Chunks for Slow {
        fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
            self.upstream.working(|| sleep(STEP));
            self.worker.working(|| sleep(STEP));
            self.flow.poll_next(cx)
        }
    }

    #[tokio::test]
    async fn a_stage_works_or_waits_at_any_time() {
        let [out, worker, upstream, behind, network] = [(); 5].map(|()| Arc::new(Meter::default()));
        let slow = Slow { flow: flow(&[b"ab", b"c"]), upstream: Arc::clone(&upstream), worker: Arc::clone(&worker) };
        let (stage, upload) = (Place::of(&out, [Arc::clone(&worker)]), Place::of(&behind, [Arc::clone(&network)]));
        let began = Instant::now();
        let mut metered = metered_into(Flow::through(slow), stage.clone(), upload.clone());
        for _ in 0..2 {
            metered.next().await.unwrap().unwrap();
            worker.working(|| sleep(STEP));
            network.working(|| sleep(STEP));
            sleep(STEP);
        }
        drop(metered);
        let whole = began.elapsed();
        assert_eq!(out.bytes(), 3);
        let is = |what: &str, time: Duration, steps: u32| {
            assert!(time >= steps * STEP, "{what}: {time:?}, expected {steps} steps");
        };
        is("busy", stage.busy(), 4);
        is("for input", out.waiting_for_input(), 2);
        is("for output", out.waiting_for_output(), 4);
        is("the upload", upload.busy(), 2);
        is("the upload for input", behind.waiting_for_input(), 4);
        is("the upload for output", behind.waiting_for_output(), 4);
        for place in [&stage, &upload] {
            let sum = place.busy() + place.out.waiting_for_input() + place.out.waiting_for_output();
            // Ten steps in all: whatever was counted twice would not fit.
            assert!(sum >= 10 * STEP && sum <= whole, "{sum:?} of {whole:?}");
        }
    }
}
