//! A long way: what is sent arrives later, and no connection has more under way than its window.
//!
//! As with TCP a byte holds its place in the window until the acknowledgement is back, one way there and one way back:
//! one connection moves at most a window per round trip, N connections N of them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes per read.
const CHUNK_BYTES: usize = 16 * 1024;

/// Serves until it is killed: everything goes on to `port`, `milliseconds` later, both ways.
pub(crate) fn serve(port: u16, milliseconds: u64, window: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?.port());
        let delay = Duration::from_millis(milliseconds);
        loop {
            let (client, _) = listener.accept().await?;
            tokio::spawn(connection(client, port, delay, window));
        }
    })
}

async fn connection(client: TcpStream, port: u16, delay: Duration, window: usize) -> Result<()> {
    // The handshake of TCP is a round trip too.
    sleep(2 * delay).await;
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::try_join!(carry(from_client, to_server, delay, window), carry(from_server, to_client, delay, window))?;
    Ok(())
}

/// One direction.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: Duration,
    window: usize,
) -> Result<()> {
    let room = Arc::new(Semaphore::new(window.max(CHUNK_BYTES)));
    let acknowledged = Arc::clone(&room);
    // Bounded by the room: nothing is read that has none.
    let (sender, mut under_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let (returns, mut returning) = mpsc::unbounded_channel::<(Instant, usize)>();
    let reads = async move {
        loop {
            room.acquire_many(CHUNK_BYTES as u32).await?.forget();
            let mut chunk = vec![0; CHUNK_BYTES];
            let count = from.read(&mut chunk).await?;
            chunk.truncate(count);
            room.add_permits(CHUNK_BYTES - count);
            if count == 0 || sender.send((Instant::now() + delay, chunk)).is_err() {
                return anyhow::Ok(());
            }
        }
    };
    let writes = async move {
        while let Some((due, chunk)) = under_way.recv().await {
            sleep_until(due).await;
            to.write_all(&chunk).await?;
            let _ = returns.send((Instant::now() + delay, chunk.len()));
        }
        to.shutdown().await?;
        anyhow::Ok(())
    };
    let acknowledgements = async move {
        while let Some((due, count)) = returning.recv().await {
            sleep_until(due).await;
            acknowledged.add_permits(count);
        }
        anyhow::Ok(())
    };
    tokio::try_join!(reads, writes, acknowledgements)?;
    Ok(())
}
