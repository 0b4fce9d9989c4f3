//! What this process cost, as the kernel accounts it.

use std::fs;

use serde::Serialize;

use crate::observe::Figures;

/// CPU, memory and CPU quota of this process. What the machine does not tell is null.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Process {
    /// CPU seconds in user mode.
    pub cpu_user_seconds: Option<f64>,
    /// CPU seconds in the kernel.
    pub cpu_system_seconds: Option<f64>,
    /// The most resident memory so far.
    pub peak_rss_bytes: Option<u64>,
    /// CPUs the cgroup may use on average; null without a quota.
    pub cgroup_quota_cpus: Option<f64>,
    /// Seconds the cgroup was held back during the run, by all its processes, the sum over the CPUs; null without a quota.
    pub cgroup_throttled_seconds: Option<f64>,
    /// The quota's periods during the run in which the cgroup wanted to run.
    pub cgroup_periods: Option<u64>,
    /// Those of them in which it used its quota up.
    pub cgroup_throttled_periods: Option<u64>,
}

/// Clock ticks per second in /proc: fixed by Linux's user-space ABI on every architecture longshore builds for.
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    /// The figures up to now.
    pub(super) fn now(figures: &Figures) -> Self {
        let stat = read("/proc/self/stat");
        let (user, system) = stat.as_deref().and_then(cpu_seconds).unzip();
        let status = read("/proc/self/status");
        Self {
            cpu_user_seconds: user,
            cpu_system_seconds: system,
            peak_rss_bytes: status.as_deref().and_then(peak_rss),
            cgroup_quota_cpus: figures.quota.map(|quota| quota.cpus),
            cgroup_throttled_seconds: figures.quota.map(|quota| quota.throttled.time.as_secs_f64()),
            cgroup_periods: figures.quota.map(|quota| quota.throttled.periods),
            cgroup_throttled_periods: figures.quota.map(|quota| quota.throttled.throttled_periods),
        }
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Fields 14 and 15 of proc(5) stat, counted behind the command name, which may contain anything.
fn cpu_seconds(stat: &str) -> Option<(f64, f64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok().map(|ticks| ticks as f64 / TICKS_PER_SECOND);
    Some((next()?, next()?))
}

fn peak_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_whatever_the_command_is_called() {
        let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 75 0 0";
        assert_eq!(cpu_seconds(stat), Some((2.5, 0.75)));
        assert_eq!(cpu_seconds("nonsense"), None);
        assert_eq!(peak_rss("Name:\tx\nVmHWM:\t   1024 kB\n"), Some(1 << 20));
        let now = Process::now(&Figures::default());
        assert!(now.cpu_user_seconds.is_some() && now.peak_rss_bytes.is_some());
    }
}
