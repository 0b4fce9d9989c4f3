//! What every measurement needs: a folder in memory, certificates, the disk, and the peers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use longshore_tests::nginx::Nginx;
use longshore_tests::scratch::Scratch;
use longshore_tests::tls::Authority;

use crate::data::{self, GIB};
use crate::peers::{self, Peer, beside};

/// The disk's name, in the source and in the layer.
pub const DISK: &str = "disk.raw";
/// Where files are memory, on any Linux.
const MEMORY: &str = "/dev/shm";

/// Removed with everything in it.
pub struct Stand {
    /// In memory.
    pub scratch: Scratch,
    /// Who issued every certificate.
    pub authority: Authority,
}

/// The stand of the main comparison.
pub struct Peers {
    /// The source, over TLS.
    pub source: Nginx,
    /// The same program again, which takes the floor's upload: a process of its own, as a registry is.
    pub storage: Nginx,
    /// The registry that forgets the layer.
    pub sink: Peer,
}

impl Stand {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let scratch = Scratch::under(Path::new(MEMORY));
        let authority = Authority::new(&scratch);
        Self { scratch, authority }
    }

    /// Makes the disk in the folder that nginx serves.
    ///
    /// # Errors
    /// If the memory has no room for it.
    pub fn disk(&self, gib: u64) -> Result<PathBuf> {
        let path = self.scratch.folder("www").join(DISK);
        data::raw(&path, gib * (GIB / data::BLOCK_BYTES as u64))?;
        Ok(path)
    }

    /// Starts the peers.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn peers(&self) -> Result<Peers> {
        Ok(Peers {
            source: peers::nginx(&self.scratch, &self.authority),
            storage: peers::nginx(&self.scratch, &self.authority),
            sink: Peer::sink(&self.authority)?,
        })
    }

    /// `longshore import`, with nothing of the environment.
    ///
    /// # Errors
    /// If it is not built.
    pub fn import(&self, source: &str, destination: &str, more: &[&str]) -> Result<Command> {
        let mut command = Command::new(beside("longshore")?);
        command.args(["import", source, destination, "--progress", "none", "--ca", &self.authority.ca()]).args(more);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
        Ok(command)
    }
}

impl Default for Stand {
    fn default() -> Self {
        Self::new()
    }
}

/// How many GiB of memory files may still take.
///
/// # Errors
/// If the kernel does not say.
pub fn free_gib() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).context("no MemAvailable")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? / (1 << 20))
}

/// Fails where there is too little memory for `gib` of files.
///
/// # Errors
/// Then.
pub fn needs_gib(gib: u64) -> Result<()> {
    let free = free_gib()?;
    ensure!(free > gib, "{free} GiB of memory are free, {gib} GiB and a little more are needed");
    Ok(())
}
