//! What a connection costs: the socket below TLS and TLS itself, each metered, so that the difference is TLS alone.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::observe::{Meter, Traffic, Waiting, WaitsFor};
use crate::policy::Side;

/// A byte stream that is metered.
pub(super) struct Metered<T> {
    io: T,
    meter: Arc<Meter>,
    /// Of a registry's socket: whether it takes no more.
    full: Option<Waiting>,
}

impl<T> Metered<T> {
    /// The socket itself.
    pub(super) fn socket(io: T, side: Side, traffic: &Traffic) -> Self {
        let full = (side == Side::Registry).then(|| Waiting::new(WaitsFor::RegistryTakes));
        Self { io, meter: Arc::clone(&traffic.sockets), full }
    }

    /// TLS over it.
    pub(super) fn tls(io: T, traffic: &Traffic) -> Self {
        Self { io, meter: Arc::clone(&traffic.tls), full: None }
    }

    fn wrote(&mut self, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        if let Some(full) = &mut self.full {
            full.set(written.is_pending());
        }
        if let Poll::Ready(Ok(bytes)) = written {
            self.meter.passed(bytes);
        }
        written
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let Self { io, meter, .. } = self.get_mut();
        let before = buffer.filled().len();
        let read = meter.working(|| Pin::new(io).poll_read(cx, buffer));
        meter.passed(buffer.filled().len().saturating_sub(before));
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let metered = self.get_mut();
        let written = metered.meter.working(|| Pin::new(&mut metered.io).poll_write(cx, bytes));
        metered.wrote(written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { io, meter, .. } = self.get_mut();
        meter.working(|| Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { io, meter, .. } = self.get_mut();
        meter.working(|| Pin::new(io).poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        let metered = self.get_mut();
        let written = metered.meter.working(|| Pin::new(&mut metered.io).poll_write_vectored(cx, slices));
        metered.wrote(written)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn bytes_are_counted_both_ways_at_both_levels() {
        let traffic = Traffic::default();
        let (near, mut far) = duplex(64);
        let mut io = Metered::tls(Metered::socket(near, Side::Registry, &traffic), &traffic);
        io.write_all(b"hello").await.unwrap();
        io.flush().await.unwrap();
        far.write_all(b"you").await.unwrap();
        let mut read = [0; 3];
        io.read_exact(&mut read).await.unwrap();
        assert_eq!((traffic.sockets.bytes(), traffic.tls.bytes()), (8, 8));
    }
}
