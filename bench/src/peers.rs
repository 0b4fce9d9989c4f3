//! The peers of a run, each a process of its own on a free port of 127.0.0.1, stopped by its pid.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use longshore_tests::nginx::Nginx;
use longshore_tests::scratch::Scratch;
use longshore_tests::tls::Authority;

use crate::measure::cpu_of;
use crate::tls::SUITE;

/// Uploads become files in a tmpfs; one suite; buffers as large as they have to be for a disk.
const STORING: &str = "dav_methods PUT; client_max_body_size 0; client_body_buffer_size 1m; keepalive_timeout 60s;";

/// nginx that serves the scratch folder `www` over TLS 1.3, and takes uploads.
#[must_use]
pub fn nginx(scratch: &Scratch, authority: &Authority) -> Nginx {
    Nginx::with(scratch, authority, &format!("{STORING} ssl_conf_command Ciphersuites {SUITE};"))
}

/// A peer of our own: `bench-peer`.
pub struct Peer {
    child: Child,
    /// Where it listens.
    pub port: u16,
}

impl Peer {
    /// The discarding registry over TLS.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn sink(authority: &Authority) -> Result<Self> {
        Self::start(&["sink", &text(&authority.certificate), &text(&authority.key)])
    }

    /// A disk of `bytes` over TLS.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn source(bytes: u64, authority: &Authority) -> Result<Self> {
        Self::start(&["source", &bytes.to_string(), &text(&authority.certificate), &text(&authority.key)])
    }

    /// A long way to a port: one way of it takes `delay`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn delay(port: u16, delay: Duration, window_bytes: usize) -> Result<Self> {
        Self::start(&["delay", &port.to_string(), &delay.as_millis().to_string(), &window_bytes.to_string()])
    }

    fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(beside("bench-peer")?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{command:?} cannot be started"))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut peer = Self { child, port: 0 };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        peer.port = line.trim().parse().with_context(|| format!("{command:?} says no port"))?;
        Ok(peer)
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// If it is gone.
    pub fn cpu(&self) -> Result<Duration> {
        cpu_of(self.child.id())
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of ours, built in the same profile as this one.
///
/// # Errors
/// If it is not there.
pub fn beside(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    anyhow::ensure!(path.is_file(), "{name} is not built: run `just bench`");
    Ok(path)
}

/// A path as an argument.
#[must_use]
pub fn text(path: &Path) -> String {
    path.display().to_string()
}
