//! What a peer says first, kept until the handshake is over: an error is to name what the peer chose, and the library does not.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes that are kept: a ServerHello has a few hundred.
const MAX_KEPT: usize = 4 * 1024;

/// A connection with the first bytes that came over it.
#[derive(Debug)]
pub struct Heard<I> {
    io: I,
    /// None once nobody will ask.
    first: Option<Vec<u8>>,
}

impl<I> Heard<I> {
    pub(super) const fn new(io: I) -> Self {
        Self { io, first: Some(Vec::new()) }
    }

    /// The first bytes that came, which are kept no longer.
    pub(super) fn heard(&mut self) -> Vec<u8> {
        self.first.take().unwrap_or_default()
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Heard<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Some(first) = &mut self.first {
            let room = MAX_KEPT.saturating_sub(first.len());
            first.extend(buf.filled().iter().skip(before).take(room));
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Heard<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn no_more_is_kept_than_may_be_and_nothing_once_it_was_taken() {
        let mut heard = Heard::new(&[7; 3 * MAX_KEPT][..]);
        let mut read = vec![0; 2 * MAX_KEPT];
        heard.read_exact(&mut read).await.unwrap();
        assert_eq!(heard.heard(), [7; MAX_KEPT]);
        heard.read_exact(&mut read[..MAX_KEPT]).await.unwrap();
        assert!(heard.heard().is_empty());
    }
}
