//! The body of an answer: its length checked, its silence bounded.

use std::error::Error as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::error::{Code, Error, Result, Stage};
use crate::observe::{Waiting, WaitsFor};
use crate::policy::Side;

/// The bytes of an answer. Dropping it before its end closes the connection.
pub struct Body {
    incoming: Incoming,
    expected: Option<u64>,
    got: u64,
    stall: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    waited_for: Waiting,
    side: Side,
    stage: Stage,
    whose: String,
}

impl Body {
    pub(super) fn new(
        incoming: Incoming,
        expected: Option<u64>,
        stall: Duration,
        (side, stage): (Side, Stage),
        whose: String,
    ) -> Self {
        let timer = Box::pin(tokio::time::sleep(stall));
        let waited_for = Waiting::new(waits_for(side));
        Self { incoming, expected, got: 0, stall, timer, waiting: false, waited_for, side, stage, whose }
    }

    /// How long the peer may be silent while somebody polls for a chunk.
    #[must_use]
    pub const fn stall(&self) -> Duration {
        self.stall
    }

    /// The next chunk, never empty; none once the whole body arrived.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            let next = Pin::new(&mut self.incoming).poll_frame(cx);
            self.waited_for.set(next.is_pending());
            match next {
                Poll::Ready(Some(Ok(frame))) => {
                    self.waiting = false;
                    // Trailers carry nothing that is used.
                    let Ok(chunk) = frame.into_data() else { continue };
                    if chunk.is_empty() {
                        continue;
                    }
                    self.got = self.got.saturating_add(chunk.len() as u64);
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Poll::Ready(Some(Err(why))) => return Poll::Ready(Some(Err(self.broken(why)))),
                Poll::Ready(None) => {
                    return match self.expected {
                        Some(expected) if expected != self.got => Poll::Ready(Some(Err(self.short(expected)))),
                        _ => Poll::Ready(None),
                    };
                }
                Poll::Pending => {
                    if !self.waiting {
                        self.waiting = true;
                        self.timer.as_mut().reset(Instant::now() + self.stall);
                    }
                    return self.timer.as_mut().poll(cx).map(|()| Some(Err(self.stalled())));
                }
            }
        }
    }

    /// The whole body, if it has at most `most` bytes.
    ///
    /// # Errors
    /// As for the chunks, and if there is more.
    pub async fn collect(mut self, most: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(chunk) = poll_fn(|cx| self.poll_chunk(cx)).await.transpose()? {
            if all.len().saturating_add(chunk.len()) > most {
                let code = self.code(Code::SourceInvalid, Code::RegistryProtocol);
                let message = format!("{} sent more than {most} bytes where less was expected", self.whose);
                return Err(Error::new(code, self.stage, message));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    /// The first `most` bytes, or all if there are fewer. The rest is not waited for: the connection closes.
    ///
    /// # Errors
    /// As for the chunks.
    pub async fn first(mut self, most: usize) -> Result<Vec<u8>> {
        let mut first = Vec::new();
        while first.len() < most {
            let Some(chunk) = poll_fn(|cx| self.poll_chunk(cx)).await.transpose()? else { break };
            first.extend_from_slice(&chunk);
        }
        first.truncate(most);
        Ok(first)
    }

    fn code(&self, source: Code, registry: Code) -> Code {
        match self.side {
            Side::Source => source,
            Side::Registry => registry,
        }
    }

    fn short(&self, expected: u64) -> Error {
        let code = self.code(Code::SourceTruncated, Code::RegistryUnreachable);
        let message = format!("{} ended the body after {} bytes, expected {expected}", self.whose, self.got);
        Error::new(code, self.stage, message)
    }

    fn broken(&self, why: hyper::Error) -> Error {
        let ended = why.is_incomplete_message() || ended_early(&why);
        if let (true, Some(expected)) = (ended, self.expected) {
            return self.short(expected);
        }
        let code = match ended {
            true => self.code(Code::SourceTruncated, Code::RegistryUnreachable),
            false => self.code(Code::SourceFailed, Code::RegistryUnreachable),
        };
        Error::new(code, self.stage, format!("{} broke the body off after {} bytes", self.whose, self.got))
            .caused_by(why)
    }

    fn stalled(&self) -> Error {
        let code = self.code(Code::SourceStalled, Code::RegistryStalled);
        let message = format!("{} sent nothing for {} s after {} bytes", self.whose, self.stall.as_secs(), self.got);
        Error::new(code, self.stage, message)
    }
}

/// Who is waited for with an answer of that side.
pub(super) const fn waits_for(side: Side) -> WaitsFor {
    match side {
        Side::Source => WaitsFor::Source,
        Side::Registry => WaitsFor::RegistryAnswers,
    }
}

/// Whether the connection just ended: without a close_notify that is no end a TLS peer would make.
fn ended_early(why: &hyper::Error) -> bool {
    let io = why.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof)
}
