//! `--limit-rate`: a token bucket. Tokens are bytes; they come at the rate, and no more are kept than one burst.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use super::{Chunks, Flow};
use crate::error::Result;
use crate::observe::{Waiting, WaitsFor};

/// What may flow at once: what the rate gives in this time.
const BURST: Duration = Duration::from_millis(50);
/// But not less: a packet of fewer bytes is mostly headers.
const MIN_BURST_BYTES: u64 = 1024;
/// And not more, however high the rate.
const MAX_BURST_BYTES: u64 = 4 << 20;

/// Lets `bytes_per_second` flow, cutting chunks where they are larger than a burst: bytes keep coming, however low the rate,
/// so that no peer takes the transfer for stalled.
#[must_use]
pub fn limited(flow: Flow, bytes_per_second: u64) -> Flow {
    let bucket = Bucket::new(bytes_per_second, Instant::now());
    let waiting = Waiting::new(WaitsFor::RateLimit);
    Flow::through(Limited { flow, bucket, left: Bytes::new(), timer: None, waiting })
}

struct Limited {
    flow: Flow,
    bucket: Bucket,
    /// What is still to flow of the last chunk.
    left: Bytes,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: Waiting,
}

impl Chunks for Limited {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.left.is_empty() {
            match ready!(self.flow.poll_next(cx)) {
                Some(Ok(chunk)) => self.left = chunk,
                end => return Poll::Ready(end),
            }
        }
        if let Some(timer) = &mut self.timer {
            let rung = timer.as_mut().poll(cx);
            self.waiting.set(rung.is_pending());
            ready!(rung);
            self.timer = None;
        }
        let wanted = (self.left.len() as u64).min(self.bucket.burst);
        let wait = self.bucket.take(wanted, Instant::now());
        if wait.is_zero() {
            let taken = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.left.len());
            return Poll::Ready(Some(Ok(self.left.split_to(taken))));
        }
        let mut timer = Box::pin(tokio::time::sleep(wait));
        // It registers for the wake-up; should it have rung already, whoever polls next sees it.
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.timer = Some(timer);
        self.waiting.set(true);
        Poll::Pending
    }
}

struct Bucket {
    rate: f64,
    burst: u64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full one.
    fn new(bytes_per_second: u64, now: Instant) -> Self {
        let rate = bytes_per_second as f64;
        let burst = ((rate * BURST.as_secs_f64()) as u64).clamp(MIN_BURST_BYTES, MAX_BURST_BYTES);
        Self { rate, burst, tokens: burst as f64, filled: now }
    }

    /// Takes that many, at most a burst, if they are there; else how long until they will be.
    fn take(&mut self, wanted: u64, now: Instant) -> Duration {
        let came = now.saturating_duration_since(self.filled).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + came).min(self.burst as f64);
        self.filled = now;
        let missing = wanted as f64 - self.tokens;
        if missing <= 0.0 {
            self.tokens -= wanted as f64;
            return Duration::ZERO;
        }
        // Rounded up, so that it is never early and asks again for nothing.
        Duration::from_secs_f64(missing / self.rate).saturating_add(Duration::from_micros(1))
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::tests::flow;
    use super::*;

    /// What a bucket lets through in that time if asked as often as it says, in chunks of that size.
    fn through(rate: u64, chunk: u64, seconds: u64) -> u64 {
        let start = Instant::now();
        let (mut now, mut sum) = (start, 0);
        let mut bucket = Bucket::new(rate, now);
        while now - start < Duration::from_secs(seconds) {
            let wanted = chunk.min(bucket.burst);
            match bucket.take(wanted, now) {
                Duration::ZERO => sum += wanted,
                // A timer of a millisecond is late by up to one.
                wait => now += wait.max(Duration::from_millis(1)),
            }
        }
        sum
    }

    #[test]
    fn any_rate_is_met_and_none_is_exceeded_by_more_than_a_burst() {
        for (rate, chunk) in
            [(1024, 100), (1024, 16384), (100_000, 100), (10 << 20, 16384), (1 << 30, 16384), (1 << 30, 1 << 20)]
        {
            let (got, burst) = (through(rate, chunk, 10), Bucket::new(rate, Instant::now()).burst);
            assert!(got <= 10 * rate + burst, "{rate} in {chunk}: {got}");
            assert!(got >= 10 * rate * 95 / 100, "{rate} in {chunk}: {got}");
        }
    }

    #[test]
    fn no_more_is_kept_than_a_burst() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10 << 20, start);
        let later = start + Duration::from_secs(3600);
        assert_eq!(bucket.take(bucket.burst, later), Duration::ZERO);
        assert!(bucket.take(1, later) > Duration::ZERO);
        for (rate, burst) in [(1, MIN_BURST_BYTES), (1 << 20, (1 << 20) / 20), (u64::MAX, MAX_BURST_BYTES)] {
            assert_eq!(Bucket::new(rate, start).burst, burst);
        }
    }

    #[tokio::test]
    async fn bytes_flow_in_order_and_not_before_their_time() {
        let (chunk, rate) = ([7; 100 * 1024], 1 << 20);
        let began = Instant::now();
        let mut limited = limited(flow(&[&chunk, &chunk, b"end"]), rate);
        let mut got = Vec::new();
        while let Some(some) = limited.next().await.unwrap() {
            assert!(some.len() as u64 <= rate / 20, "a burst");
            got.extend_from_slice(&some);
        }
        assert_eq!(got, [&chunk[..], &chunk, b"end"].concat());
        // All but the first burst had to come.
        let least = Duration::from_secs_f64(got.len() as f64 / rate as f64).saturating_sub(BURST);
        assert!(began.elapsed() >= least, "{:?}, expected {least:?}", began.elapsed());
    }
}
