//! The class of a machine and the versions of what ran on it. No names of hosts, no paths.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::peers::beside;

/// CPU features that decide what the job costs.
const FLAGS: [&str; 7] = ["aes", "vaes", "vpclmulqdq", "sha_ni", "avx2", "avx512f", "hypervisor"];

/// What others need to know to compare.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// As the kernel names it.
    pub cpu: String,
    /// Those that this process may use.
    pub cores: usize,
    /// Of `FLAGS`, those it has.
    pub flags: Vec<&'static str>,
    /// In GiB.
    pub memory_gib: f64,
    /// Name and release.
    pub kernel: String,
    /// The distribution's own name.
    pub system: String,
    /// Tool and version; "absent" where it is not there.
    pub versions: Vec<(String, String)>,
    /// UTC.
    pub date: String,
}

impl Machine {
    /// This one.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn this() -> Result<Self> {
        let cpu = fs::read_to_string("/proc/cpuinfo")?;
        let field = |name: &str| {
            let line = cpu.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let flags = field("flags").or_else(|| field("Features")).unwrap_or_default();
        let has = |flag: &&str| flags.split_whitespace().any(|found| found == *flag);
        let memory = fs::read_to_string("/proc/meminfo")?;
        let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).context("no MemTotal")?;
        let kib: f64 = memory.trim().trim_end_matches("kB").trim().parse()?;
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let system = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
        Ok(Self {
            cpu: field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism()?.get(),
            flags: FLAGS.into_iter().filter(has).collect(),
            memory_gib: (kib / f64::from(1 << 20) * 10.0).round() / 10.0,
            kernel: kernel()?,
            system: system.trim_matches('"').to_owned(),
            versions: versions()?,
            date: said(Command::new("date").args(["--utc", "+%Y-%m-%d %H:%M UTC"])).context("no date")?,
        })
    }
}

/// The release without what a builder put behind it, which says nothing to others.
fn kernel() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("Linux {}", release.trim().split('-').next().unwrap_or_default()))
}

fn versions() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut tool = |name: &str, command: &mut Command| {
        let line = said(command).and_then(|text| text.lines().next().map(str::to_owned));
        // distribution begins with the path that it was started by.
        let line = line
            .map(|line| line.split_whitespace().filter(|word| !word.starts_with('/')).collect::<Vec<_>>().join(" "));
        found.push((name.to_owned(), line.unwrap_or_else(|| "absent".to_owned())));
    };
    tool("longshore", Command::new(beside("longshore")?).arg("--version"));
    tool("rustc", Command::new("rustc").arg("--version"));
    tool("curl", Command::new("curl").arg("--version"));
    tool("openssl", Command::new("openssl").arg("version"));
    tool("nginx", Command::new("/usr/sbin/nginx").arg("-v"));
    tool("skopeo", Command::new("skopeo").arg("--version"));
    for (name, arguments) in [
        ("crane", ["version", ""]),
        ("regctl", ["version", "--format={{.VCSTag}}"]),
        ("oras", ["version", ""]),
        ("registry", ["--version", ""]),
    ] {
        let path = crate::tools::path(name);
        let mut command = Command::new(&path);
        command.args(arguments.iter().filter(|argument| !argument.is_empty()));
        tool(name, &mut command);
    }
    Ok(found)
}

/// What a program says, on whichever output; none if it is not there or fails.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
