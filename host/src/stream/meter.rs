//! What a flow costs and waits for, measured where it passes.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;

use super::{Chunks, Flow};
use crate::error::Result;
use crate::observe::Meter;

/// Measures a flow into `meter`.
#[must_use]
pub fn metered(flow: Flow, meter: Arc<Meter>) -> Flow {
    Flow::through(Metered { flow, meter, left: None })
}

struct Metered {
    flow: Flow,
    meter: Arc<Meter>,
    /// When the last poll ended, and whether it had nothing to give.
    left: Option<(Instant, bool)>,
}

impl Chunks for Metered {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let entered = Instant::now();
        if let Some((left, pending)) = self.left {
            let away = entered.duration_since(left);
            if pending { self.meter.waited_for_input(away) } else { self.meter.waited_for_output(away) }
        }
        let next = self.flow.poll_next(cx);
        let left = Instant::now();
        self.meter.was_inside(left.duration_since(entered));
        if let Poll::Ready(Some(Ok(chunk))) = &next {
            self.meter.passed(chunk.len());
        }
        self.left = Some((left, next.is_pending()));
        next
    }
}
