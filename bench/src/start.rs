//! How long the program takes until its first request is on the wire, and what a run costs that ends there.

use std::process::Command;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use longshore_tests::script::{Handler, Script, empty};
use rustls::ServerConfig;
use serde::Serialize;
use std::sync::Arc;

use crate::measure::{Ended, finish};
use crate::peers::beside;
use crate::stand::{DISK, Stand};
use crate::statistics::Summary;
use crate::tls;

/// What an import of a disk that is not there took, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Start {
    /// From before `fork` to the request at the server; over TLS with its handshake.
    pub first_request: Summary,
    /// User and system time of the whole run.
    pub cpu: Summary,
    /// From start to end.
    pub wall: Summary,
}

/// All of them.
#[derive(Debug, Serialize)]
pub struct Starts {
    /// `longshore --version`: loading and linking, arguments, nothing else.
    pub version: Summary,
    /// From a plain source: no cryptography is needed for it.
    pub plain: Start,
    /// From a TLS source.
    pub tls: Start,
}

/// Starts the program `runs` times each way, by turns.
///
/// # Errors
/// If it does not end as it must: the source is not there.
pub fn measure(stand: &Stand, runs: usize) -> Result<Starts> {
    let config = tls::server(&stand.authority.certificate, &stand.authority.key)?;
    let (plain, secure) = (Absent::start(None), Absent::start(Some(config)));
    let (mut version, mut times) = (Vec::new(), [Vec::new(), Vec::new()]);
    for run in 0..=runs {
        let ended = finish(Command::new(beside("longshore")?).arg("--version").env_clear())?;
        let each = [plain.import(stand)?, secure.import(stand)?];
        // The first ones fill the page cache.
        if run > 0 {
            version.push(milliseconds(&ended)[1]);
            for (series, one) in times.iter_mut().zip(each) {
                series.push(one);
            }
        }
    }
    let [plain, tls] = times.map(|series| summed(&series));
    Ok(Starts { version: Summary::of(version).context("no run")?, plain: plain?, tls: tls? })
}

/// A source that has nothing, and notes when it is asked.
struct Absent {
    script: Script,
    asked: mpsc::Receiver<Instant>,
}

impl Absent {
    fn start(config: Option<Arc<ServerConfig>>) -> Self {
        let (sender, asked) = mpsc::channel();
        let handler: Handler = Arc::new(move |_| {
            let _ = sender.send(Instant::now());
            Box::pin(async { empty(404) })
        });
        Self { script: Script::start(config, handler), asked }
    }

    /// Milliseconds to the first request, of CPU, and to the end.
    fn import(&self, stand: &Stand) -> Result<[f64; 3]> {
        let layout = format!("oci:{}:1", stand.scratch.text("never"));
        let mut import = stand.import(&self.script.url(DISK), &layout, &["--plain-http", &self.script.host()])?;
        let began = Instant::now();
        let ended = finish(&mut import)?;
        ensure!(ended.status.code() == Some(10), "expected exit 10: {}{}", ended.status, ended.complained);
        let asked = self.asked.try_recv().context("the source was not asked")?;
        while self.asked.try_recv().is_ok() {}
        let [cpu, wall] = milliseconds(&ended);
        Ok([(asked - began).as_secs_f64() * 1e3, cpu, wall])
    }
}

fn milliseconds(ended: &Ended) -> [f64; 2] {
    [ended.cost.cpu(), ended.cost.wall].map(|time| time.as_secs_f64() * 1e3)
}

fn summed(series: &[[f64; 3]]) -> Result<Start> {
    let of = |index: usize| Summary::of(series.iter().map(|one| one[index])).context("no run");
    Ok(Start { first_request: of(0)?, cpu: of(1)?, wall: of(2)? })
}
