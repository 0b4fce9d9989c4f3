//! Our dialler as hyper's connector.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;
use url::Url;

use super::carried::Carried;
use super::dial::Dialer;
use crate::error::Error;
use crate::policy::{Origin, Scheme};

/// A byte connection, plain or TLS.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

#[derive(Clone)]
pub(super) struct Connector(pub(super) Dialer);

/// A connection as hyper wants it.
pub(super) struct Conn {
    io: TokioIo<Box<dyn Io>>,
    /// Whether requests go to a proxy, with whole URLs.
    proxied: bool,
}

impl Service<Uri> for Connector {
    type Response = Conn;
    type Error = Carried;
    type Future = Pin<Box<dyn Future<Output = Result<Conn, Carried>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Carried>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.0.clone();
        Box::pin(async move {
            let origin = Url::parse(&uri.to_string()).ok().and_then(|url| Origin::of(&url).ok());
            let origin =
                origin.ok_or_else(|| Carried::new(Error::internal(dialer.stage, "a request without an origin")))?;
            let io = dialer.dial(&origin).await.map_err(Carried::new)?;
            let proxied =
                origin.scheme() == Scheme::Http && dialer.policy.egress.proxy_to(dialer.side, &origin).is_some();
            Ok(Conn { io: TokioIo::new(io), proxied })
        })
    }
}

impl Connection for Conn {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.proxied)
    }
}

impl Read for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}
