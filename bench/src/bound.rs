//! How fast the job could be on this machine: no faster than the slowest of its three parts alone, and no faster than the
//! cores can do the work of all processes, peers included.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::competitors::{download, hash, upload};
use crate::data::GIB;
use crate::measure::{Cost, cpu_of, run};
use crate::stand::{DISK, Peers, Stand};
use crate::statistics::Summary;

/// Everything in MB/s (10^6 bytes) and CPU seconds per GiB, medians.
#[derive(Debug, Serialize)]
pub struct Bound {
    /// curl from nginx to /dev/null.
    pub download_alone: f64,
    /// openssl over a file in memory.
    pub hash_alone: f64,
    /// curl to the discarding registry.
    pub upload_alone: f64,
    /// CPU seconds of longshore and both peers in one import.
    pub cpu_of_all: f64,
    /// The cores by that sum.
    pub cores_allow: f64,
    /// The least of the four.
    pub bound: f64,
    /// What longshore reached.
    pub reached: f64,
    /// The one by the other.
    pub share: f64,
    /// CPU seconds by process: longshore, source, registry.
    pub cpu: [f64; 3],
}

/// Large enough that what comes before the first byte and after the last does not count: it has a measurement of its own.
pub const DISK_GIB: u64 = 4;

/// Measures the parts by turns with the whole. The stand's disk has [`DISK_GIB`].
///
/// # Errors
/// The first failure of any part.
pub fn measure(stand: &Stand, peers: &Peers, cores: usize, rounds: usize) -> Result<Bound> {
    let (mut parts, mut cpu) = ([vec![], vec![], vec![], vec![]], [vec![], vec![], vec![]]);
    for round in 0..=rounds {
        let down = run(&mut download(stand, &peers.source.url(DISK), "/dev/null"))?.0;
        let hashed = run(&mut hash(stand))?.0;
        // A registry takes a blob in one request too: POST first, as everybody does.
        let session = format!("https://{}/v2/vm/alone/blobs/uploads/1?digest=sha256:alone", peers.sink.host());
        let up = run(&mut upload(stand, &session))?.0;
        let before = [cpu_of(peers.source.pid())?, peers.sink.cpu()?];
        let destination = format!("docker://{}/vm/bound:1", peers.sink.host());
        let whole = run(&mut stand.import(&peers.source.url(DISK), &destination, &[])?)?.0;
        let after = [cpu_of(peers.source.pid())?, peers.sink.cpu()?];
        if round == 0 {
            continue;
        }
        for (part, cost) in parts.iter_mut().zip([down, hashed, up, whole]) {
            part.push(rate(&cost));
        }
        let used = [whole.cpu(), after[0].saturating_sub(before[0]), after[1].saturating_sub(before[1])];
        for (process, used) in cpu.iter_mut().zip(used.map(|used: Duration| used.as_secs_f64())) {
            process.push(used / DISK_GIB as f64);
        }
    }
    let middle = |figures: Vec<f64>| Summary::of(figures).map_or(0.0, |summary| summary.median);
    let [download_alone, hash_alone, upload_alone, reached] = parts.map(middle);
    let cpu = cpu.map(middle);
    let cpu_of_all: f64 = cpu.iter().sum();
    let cores_allow = cores as f64 / cpu_of_all * GIB as f64 / 1e6;
    let bound = download_alone.min(hash_alone).min(upload_alone).min(cores_allow);
    let share = reached / bound;
    Ok(Bound { download_alone, hash_alone, upload_alone, cpu_of_all, cores_allow, bound, reached, share, cpu })
}

fn rate(cost: &Cost) -> f64 {
    (DISK_GIB * GIB) as f64 / 1e6 / cost.wall.as_secs_f64()
}
