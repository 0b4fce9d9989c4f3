//! Peak memory of imports of several sizes, from a disk that nobody stores into a registry that stores nothing.

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::data::GIB;
use crate::measure::run;
use crate::peers::Peer;
use crate::stand::{DISK, Stand};

/// What an import may have resident, in MiB, whatever the disk's size (DESIGN §9).
pub const ALLOWED_MIB: f64 = 64.0;

/// One import.
#[derive(Debug, Serialize)]
pub struct Peak {
    /// The disk.
    pub gib: u64,
    /// The program's own account with the kernel, in MiB.
    pub peak_mib: f64,
    /// MB/s (10^6 bytes).
    pub rate: f64,
    /// CPU seconds per GiB.
    pub cpu: f64,
}

/// Imports a disk of each size over TLS.
///
/// # Errors
/// The first failure of an import.
pub fn measure(stand: &Stand, sizes: &[u64]) -> Result<Vec<Peak>> {
    let sink = Peer::sink(&stand.authority)?;
    let each = sizes.iter().map(|gib| {
        let source = Peer::source(gib * GIB, &stand.authority)?;
        let destination = format!("docker://{}/vm/memory:1", sink.host());
        let (cost, _) = run(&mut stand.import(&format!("https://{}/{DISK}", source.host()), &destination, &[])?)?;
        let size = *gib as f64;
        let peak = Peak {
            gib: *gib,
            peak_mib: cost.peak_bytes as f64 / f64::from(1 << 20),
            rate: size * GIB as f64 / 1e6 / cost.wall.as_secs_f64(),
            cpu: cost.cpu().as_secs_f64() / size,
        };
        println!("{gib:3} GiB: peak {:.1} MiB, {:.0} MB/s, {:.3} CPU s per GiB", peak.peak_mib, peak.rate, peak.cpu);
        Ok(peak)
    });
    each.collect()
}

/// Fails if one is above what is allowed.
///
/// # Errors
/// Then.
pub fn within(peaks: &[Peak]) -> Result<()> {
    for peak in peaks {
        ensure!(
            peak.peak_mib <= ALLOWED_MIB,
            "{} GiB took {:.1} MiB, allowed are {ALLOWED_MIB}",
            peak.gib,
            peak.peak_mib
        );
    }
    Ok(())
}
