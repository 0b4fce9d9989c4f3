//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::crowd::Place;
use super::patient::Patient;
use super::{Arriving, Attendant, Call, Closing, Peer};
use crate::tls::TlsServer;

/// The most header fields of a request.
const MAX_FIELDS: usize = 64;
/// The most bytes of a request's head, and of what is read ahead of a body.
const MAX_BUFFER: usize = 64 * 1024;
/// How long the rest of a request that was refused is read and thrown away, so that the client gets to read why; and how much
/// of it. Closing over what has arrived resets the connection, and the answer is lost with it.
const LINGER: Duration = Duration::from_secs(3);
const LINGER_BYTES: u64 = 64 << 20;
const LINGER_BUFFER: usize = 64 * 1024;

/// Serves one connection to its end. Nothing is left to say to anybody if it breaks.
pub(super) async fn connection(
    (socket, address): (TcpStream, SocketAddr),
    tls: Option<TlsServer>,
    attendant: Rc<impl Attendant>,
    head_within: Duration,
    closing: Closing,
    place: &Place,
) {
    // Answers are small, and whole when they are written.
    let _ = socket.set_nodelay(true);
    let socket = Patient::new(socket);
    let Some(tls) = tls else {
        let peer = Peer { address, tls: None };
        attendant.connected(&peer);
        return speak(socket, peer, attendant, head_within, closing, place).await;
    };
    let accepted = match timeout(head_within, tls.accept(socket)).await {
        Ok(accepted) => accepted,
        Err(_) => Err(format!("the handshake took more than {} s", head_within.as_secs())),
    };
    match accepted {
        Ok((stream, negotiated)) => {
            let peer = Peer { address, tls: Some(negotiated) };
            attendant.connected(&peer);
            speak(stream, peer, attendant, head_within, closing, place).await;
        }
        Err(why) => attendant.turned_away(address, &why),
    }
}

async fn speak<I>(
    io: I,
    peer: Peer,
    attendant: Rc<impl Attendant>,
    head_within: Duration,
    mut closing: Closing,
    place: &Place,
) where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let peer = Rc::new(peer);
    let service = service_fn(|request: http::Request<Incoming>| {
        let (attendant, peer) = (Rc::clone(&attendant), Rc::clone(&peer));
        let (head, body) = request.into_parts();
        let answering = place.answering();
        // hyper wants the future in one place.
        Box::pin(async move {
            let _answering = answering;
            let reply = attendant.answer(Call { head, body: Arriving::new(body), peer }).await;
            Ok::<_, Infallible>(reply.map(Full::<Bytes>::from))
        })
    });
    let mut connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_within)
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(io), service);
    let ended = {
        let mut done = pin!(poll_fn(|cx| connection.poll_without_shutdown(cx)));
        tokio::select! {
            _ = &mut done => true,
            () = closing.closed() => false,
        }
    };
    if !ended {
        Pin::new(&mut connection).graceful_shutdown();
        // What it waits for decides how long; the listener does not wait for ever.
        let _ = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    }
    linger(connection.into_parts().io.into_inner()).await;
}

/// Ends our side, and reads what the client still sends until it ends its own.
async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let all = async {
        if io.shutdown().await.is_err() {
            return;
        }
        let (mut buffer, mut left) = (vec![0; LINGER_BUFFER], LINGER_BYTES);
        while let Ok(read @ 1..) = io.read(&mut buffer).await {
            left = left.saturating_sub(read as u64);
            if left == 0 {
                return;
            }
        }
    };
    let _ = timeout(LINGER, all).await;
}
