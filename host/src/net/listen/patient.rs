//! A socket whose peer is not waited for without end to take what it asked for.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a client may take nothing of an answer.
const TAKES_WITHIN: Duration = Duration::from_secs(30);

/// A socket that fails if it can write nothing for too long. Reading is timed by whoever knows what is read.
pub(super) struct Patient<T> {
    io: T,
    within: Duration,
    /// Since it could not be written last.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T> Patient<T> {
    pub(super) const fn new(io: T) -> Self {
        Self::within(io, TAKES_WITHIN)
    }

    const fn within(io: T, within: Duration) -> Self {
        Self { io, within, timer: None }
    }

    fn timed<R>(&mut self, cx: &mut Context<'_>, done: Poll<Result<R>>) -> Poll<Result<R>> {
        if done.is_ready() {
            self.timer = None;
            return done;
        }
        let within = self.within;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(within)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client takes nothing"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.timed(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.timed(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.timed(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_is_not_waited_for() {
        let (near, mut far) = duplex(4);
        let mut near = Patient::within(near, Duration::from_millis(10));
        near.write_all(b"abcd").await.unwrap();
        assert_eq!(near.write(b"e").await.unwrap_err().kind(), ErrorKind::TimedOut);
        let mut taken = [0; 4];
        far.read_exact(&mut taken).await.unwrap();
        assert_eq!(near.write(b"e").await.unwrap(), 1, "what is taken late is taken");
    }
}
