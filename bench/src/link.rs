//! A long fat link: the source is far away, and one connection has no more under way than its window.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::data::GIB;
use crate::measure::run;
use crate::peers::Peer;
use crate::stand::{DISK, Peers, Stand};

/// One way.
const DELAY: Duration = Duration::from_millis(50);
/// What a connection may have under way: one moves 41.9 MB/s at most, a window per round trip.
const WINDOW_BYTES: usize = 4 << 20;
/// What `--source-connections` is set to.
const CONNECTIONS: [u32; 4] = [1, 2, 4, 8];

/// What one import over the link reached.
#[derive(Debug, Serialize)]
pub struct Reached {
    /// Of the source.
    pub connections: u32,
    /// MB/s (10^6 bytes).
    pub rate: f64,
    /// Most memory resident, in MiB.
    pub peak_mib: f64,
    /// CPU seconds per GiB.
    pub cpu: f64,
}

/// Imports over the link with several numbers of connections. The disk is the same as everywhere.
///
/// # Errors
/// The first failure.
pub fn measure(stand: &Stand, peers: &Peers) -> Result<Vec<Reached>> {
    let far = Peer::delay(peers.source.port(), DELAY, WINDOW_BYTES)?;
    let source = format!("https://{}/{DISK}", far.host());
    let destination = format!("docker://{}/vm/link:1", peers.sink.host());
    let each = CONNECTIONS.into_iter().map(|connections| {
        let number = connections.to_string();
        let (cost, _) = run(&mut stand.import(&source, &destination, &["--source-connections", &number])?)?;
        let rate = GIB as f64 / 1e6 / cost.wall.as_secs_f64();
        let peak_mib = cost.peak_bytes as f64 / f64::from(1 << 20);
        eprintln!("{connections} connections: {rate:.0} MB/s, {peak_mib:.1} MiB");
        Ok(Reached { connections, rate, peak_mib, cpu: cost.cpu().as_secs_f64() })
    });
    each.collect()
}

/// The link in words.
#[must_use]
pub fn described() -> String {
    let window = WINDOW_BYTES >> 20;
    let most = WINDOW_BYTES as f64 / 1e6 / (2.0 * DELAY.as_secs_f64());
    format!("{} ms each way, {window} MiB under way per connection: {most:.1} MB/s each", DELAY.as_millis())
}
