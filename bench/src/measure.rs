//! What a program cost, as the kernel counts it.

use std::fs;
use std::io::Read as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use wait4::{ResourceUsage, Wait4 as _};

/// What one or several programs, one after the other, have cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// From start to end.
    pub wall: Duration,
    /// User time, children included.
    pub user: Duration,
    /// System time, children included.
    pub system: Duration,
    /// The most memory that one of them had resident, in bytes. Never less than the bench's own: until `exec` a child is
    /// its parent.
    pub peak_bytes: u64,
}

impl Cost {
    /// User and system.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        self.user + self.system
    }

    /// This, then that.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self {
            wall: self.wall + next.wall,
            user: self.user + next.user,
            system: self.system + next.system,
            peak_bytes: self.peak_bytes.max(next.peak_bytes),
        }
    }
}

/// How a program ended.
pub struct Ended {
    /// What it took.
    pub cost: Cost,
    /// How.
    pub status: ExitStatus,
    /// Its standard output.
    pub said: String,
    /// Its standard error.
    pub complained: String,
}

/// Runs a program to its end, whichever it is.
///
/// # Errors
/// If it cannot be started.
pub fn finish(command: &mut Command) -> Result<Ended> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{command:?} cannot be started"))?;
    let stderr = child.stderr.take();
    let listener = std::thread::spawn(move || {
        let mut text = Vec::new();
        stderr.map(|mut stderr| stderr.read_to_end(&mut text));
        text
    });
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said)?;
    }
    let used = child.wait4()?;
    let wall = began.elapsed();
    let complained = String::from_utf8_lossy(&listener.join().unwrap_or_default()).into_owned();
    let ResourceUsage { utime: user, stime: system, maxrss: peak_bytes } = used.rusage;
    Ok(Ended { cost: Cost { wall, user, system, peak_bytes }, status: used.status, said, complained })
}

/// Runs a program to its end, which must be a good one, and gives its cost and its standard output.
///
/// # Errors
/// If it cannot be started or fails, with what it said.
pub fn run(command: &mut Command) -> Result<(Cost, String)> {
    let ended = finish(command)?;
    ensure!(ended.status.success(), "{command:?}: {}: {}{}", ended.status, ended.said, ended.complained);
    Ok((ended.cost, ended.said))
}

/// User and system time of a running process so far, in the kernel's ticks of 10 ms.
///
/// # Errors
/// If there is no such process.
pub fn cpu_of(pid: u32) -> Result<Duration> {
    /// `USER_HZ`: the same on every architecture Linux has today.
    const TICK: Duration = Duration::from_millis(10);
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may have anything in it but ends with the last parenthesis; user time is the 14th field, the 12th after it.
    let rest = text.rsplit_once(')').map(|(_, rest)| rest).context("no name")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || -> Result<u32> { Ok(fields.next().context("too few fields")?.parse()?) };
    Ok(TICK * (ticks()? + ticks()?))
}
