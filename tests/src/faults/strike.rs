//! The bytes of one connection, carried and hurt.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::leg::{Kind, Watch, Way};

/// The connection from longshore.
pub(super) enum Front {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// How many bytes travel at once.
const CHUNK: usize = 16 * 1024;
/// How long, and in what pieces, a throttled connection trickles.
const TRICKLE: (u32, usize, Duration) = (24, 1024, Duration::from_millis(20));
/// How long an answer in the peer's place waits for the rest of its request: who closes at once resets it.
const LINGER: Duration = Duration::from_secs(5);

/// What is to become of a connection.
enum Fate {
    GoesOn,
    Ends,
}

/// Carries until either end or a fault is the end of it.
pub(super) async fn carry(mut front: Front, mut back: TcpStream, watch: &Mutex<Watch>) {
    let (mut up, mut down) = (vec![0; CHUNK], vec![0; CHUNK]);
    let (mut up_open, mut down_open) = (true, true);
    let mut last = None;
    let mut trickles = 0;
    loop {
        let (way, read) = tokio::select! {
            read = front.read(&mut up), if up_open => (Way::Up, read),
            read = back.read(&mut down), if down_open => (Way::Down, read),
            else => return,
        };
        let is_turn = last.replace(way) != Some(way);
        let fate = match (way, read) {
            (Way::Up, Ok(count @ 1..)) => {
                struck(&mut up[..count], way, is_turn, (&mut front, &mut back), watch, &mut trickles).await
            }
            (Way::Down, Ok(count @ 1..)) => {
                struck(&mut down[..count], way, is_turn, (&mut front, &mut back), watch, &mut trickles).await
            }
            // One who ends its direction may still listen.
            (Way::Up, Ok(_)) => {
                up_open = false;
                back.shutdown().await.map(|()| Fate::GoesOn)
            }
            (Way::Down, Ok(_)) => {
                down_open = false;
                front.shutdown().await.map(|()| Fate::GoesOn)
            }
            (_, Err(why)) => Err(why),
        };
        if !matches!(fate, Ok(Fate::GoesOn)) {
            return;
        }
    }
}

/// Passes these bytes on, as far as the faults among them let it.
async fn struck(
    mut bytes: &mut [u8],
    way: Way,
    mut is_turn: bool,
    (front, back): (&mut Front, &mut TcpStream),
    watch: &Mutex<Watch>,
    trickles: &mut u32,
) -> io::Result<Fate> {
    while !bytes.is_empty() {
        let fault = watch.lock().unwrap().pass(way, bytes.len(), is_turn);
        is_turn = false;
        let Some((before, kind)) = fault else {
            write(bytes, way, (front, back), trickles).await?;
            return Ok(Fate::GoesOn);
        };
        write(&bytes[..before], way, (front, back), trickles).await?;
        match kind {
            Kind::Drop => return Ok(Fate::Ends),
            Kind::Reset => {
                front.tcp().set_zero_linger()?;
                back.set_zero_linger()?;
                return Ok(Fate::Ends);
            }
            // Until the leg ends.
            Kind::HalfOpen => std::future::pending().await,
            Kind::Stall { milliseconds } => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
            Kind::Throttle => *trickles = TRICKLE.0,
            Kind::Truncate => return truncated(way, front, back).await,
            Kind::Corrupt { bit } => bytes[before] ^= 1 << bit,
            Kind::Duplicate { bytes: count } => {
                let again = &bytes[(before + 1).saturating_sub(count)..=before];
                let both = [again, again].concat();
                // What is before it has been written already: once more, then the byte itself.
                write(&both[again.len() - 1..], way, (front, back), trickles).await?;
                bytes = &mut bytes[before + 1..];
                continue;
            }
            Kind::Status(status) => return answered(status, front).await,
        }
        // The byte itself, late or changed; the rest may hold the next fault.
        write(&bytes[before..=before], way, (front, back), trickles).await?;
        bytes = &mut bytes[before + 1..];
    }
    Ok(Fate::GoesOn)
}

async fn write(
    bytes: &[u8],
    way: Way,
    (front, back): (&mut Front, &mut TcpStream),
    trickles: &mut u32,
) -> io::Result<()> {
    let (_, piece, pause) = TRICKLE;
    let mut left = bytes;
    while !left.is_empty() {
        let now = if *trickles > 0 { left.len().min(piece) } else { left.len() };
        if *trickles > 0 {
            *trickles -= 1;
            tokio::time::sleep(pause).await;
        }
        match way {
            Way::Up => back.write_all(&left[..now]).await?,
            Way::Down => front.write_all(&left[..now]).await?,
        }
        left = &left[now..];
    }
    front.flush().await
}

/// The receiver sees the end; whatever the sender still says is thrown away, and the other direction goes on.
async fn truncated(way: Way, front: &mut Front, back: &mut TcpStream) -> io::Result<Fate> {
    let mut nobody = tokio::io::sink();
    match way {
        Way::Up => {
            back.shutdown().await?;
            let (mut from, mut to) = tokio::io::split(front);
            tokio::select! {
                done = tokio::io::copy(back, &mut to) => drop(done?),
                done = tokio::io::copy(&mut from, &mut nobody) => drop(done?),
            }
        }
        Way::Down => {
            front.shutdown().await?;
            let (mut from, mut to) = back.split();
            tokio::select! {
                done = tokio::io::copy(front, &mut to) => drop(done?),
                done = tokio::io::copy(&mut from, &mut nobody) => drop(done?),
            }
        }
    }
    Ok(Fate::Ends)
}

async fn answered(status: u16, front: &mut Front) -> io::Result<Fate> {
    // A token server is there too, behind the leg itself.
    let challenge = match status {
        401 => format!("www-authenticate: Bearer realm=\"{}/token\",service=\"s\"\r\n", front.origin()?),
        _ => String::new(),
    };
    let answer = format!("HTTP/1.1 {status} The Script\r\n{challenge}content-length: 0\r\nconnection: close\r\n\r\n");
    front.write_all(answer.as_bytes()).await?;
    front.flush().await?;
    let mut nobody = tokio::io::sink();
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(front, &mut nobody)).await;
    Ok(Fate::Ends)
}

impl Front {
    /// What longshore calls the leg.
    fn origin(&self) -> io::Result<String> {
        let scheme = if let Self::Tls(_) = self { "https" } else { "http" };
        Ok(format!("{scheme}://{}", self.tcp().local_addr()?))
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

impl AsyncRead for Front {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Front {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
