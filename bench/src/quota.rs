//! The import with less than one core: in a control group of its own, with nothing else in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;

use crate::data::GIB;
use crate::measure::run;
use crate::stand::{DISK, Peers, Stand};
use crate::statistics::Summary;

/// The quota, in microseconds of each period: 0.75 CPU, as in the pod it all began in.
const QUOTA: u32 = 75_000;
/// The kernel's default period.
const PERIOD: u32 = 100_000;
/// What the import has to move, in MB/s (10^6 bytes).
pub const WANTED: f64 = 500.0;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Limited {
    /// MB/s (10^6 bytes).
    pub rate: Summary,
    /// CPU seconds per GiB.
    pub cpu: Summary,
    /// Seconds on the clock.
    pub wall: Summary,
    /// Periods in which it was throttled, of all runs together: none would mean that there was no quota.
    pub throttled_periods: u64,
    /// Which kind of control group it was.
    pub group: String,
}

/// Imports `runs` times under the quota.
///
/// # Errors
/// If there can be no control group with a quota, or the first failure of an import.
pub fn measure(stand: &Stand, peers: &Peers, runs: usize) -> Result<Limited> {
    let group = Group::new()?;
    let destination = format!("docker://{}/vm/quota:1", peers.sink.host());
    let import = stand.import(&peers.source.url(DISK), &destination, &[])?;
    let mut costs = Vec::new();
    for round in 0..=runs {
        let (cost, _) = run(&mut group.inside(&import))?;
        if round > 0 {
            costs.push(cost);
        }
    }
    let of = |figure: &dyn Fn(&crate::measure::Cost) -> f64| Summary::of(costs.iter().map(figure)).context("no run");
    let throttled_periods = group.throttled()?;
    ensure!(throttled_periods > 0, "the import never came up to its quota: the machine is too busy to say anything");
    Ok(Limited {
        rate: of(&|cost| GIB as f64 / 1e6 / cost.wall.as_secs_f64())?,
        cpu: of(&|cost| cost.cpu().as_secs_f64())?,
        wall: of(&|cost| cost.wall.as_secs_f64())?,
        throttled_periods,
        group: group.kind.to_owned(),
    })
}

/// A control group with the quota, removed when it is dropped.
struct Group {
    folder: PathBuf,
    kind: &'static str,
}

impl Group {
    fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        for mount in mounts.lines() {
            let mut fields = mount.split_whitespace().skip(1);
            let (Some(at), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else { continue };
            let folder = Path::new(at).join(format!("longshore-bench-{}", std::process::id()));
            if kind == "cgroup" && options.split(',').any(|option| option == "cpu") {
                let group = Self::make(folder, "cgroup v1, cpu.cfs_quota_us")?;
                group.set("cpu.cfs_period_us", &PERIOD.to_string())?;
                group.set("cpu.cfs_quota_us", &QUOTA.to_string())?;
                return Ok(group);
            }
            let controllers = fs::read_to_string(Path::new(at).join("cgroup.controllers")).unwrap_or_default();
            if kind == "cgroup2" && controllers.split_whitespace().any(|controller| controller == "cpu") {
                fs::write(Path::new(at).join("cgroup.subtree_control"), "+cpu").context("cpu cannot be delegated")?;
                let group = Self::make(folder, "cgroup v2, cpu.max")?;
                group.set("cpu.max", &format!("{QUOTA} {PERIOD}"))?;
                return Ok(group);
            }
        }
        bail!(
            "no control group with a CPU controller is mounted: mount one (cgroup, cpu or cgroup2) and run this as root"
        )
    }

    fn make(folder: PathBuf, kind: &'static str) -> Result<Self> {
        fs::create_dir(&folder).with_context(|| format!("{} cannot be made; be root", folder.display()))?;
        Ok(Self { folder, kind })
    }

    fn set(&self, name: &str, value: &str) -> Result<()> {
        fs::write(self.folder.join(name), value).with_context(|| format!("{name} does not take {value}"))
    }

    /// The program, joining the group before it becomes itself.
    fn inside(&self, command: &Command) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.folder);
        shell.arg(command.get_program()).args(command.get_args());
        shell.env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                shell.env(name, value);
            }
        }
        shell
    }

    fn throttled(&self) -> Result<u64> {
        let text = fs::read_to_string(self.folder.join("cpu.stat"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        Ok(line.context("no nr_throttled")?.trim().parse()?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}
