//! What this process cost, as the kernel accounts it.

use std::fs;

use serde::Serialize;

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
    /// Seconds the cgroup was held back, by all its processes.
    pub cgroup_throttled_seconds: Option<f64>,
}

/// Clock ticks per second in /proc: fixed by Linux's user-space ABI on every architecture longshore builds for.
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    /// The figures up to now.
    pub(super) fn now() -> Self {
        let stat = read("/proc/self/stat");
        let (user, system) = stat.as_deref().and_then(cpu_seconds).unzip();
        let status = read("/proc/self/status");
        let cgroups = read("/proc/self/cgroup").unwrap_or_default();
        let folder = cgroup_folder(&cgroups);
        let file = |name: &str| folder.as_ref().and_then(|folder| read(&format!("{folder}/{name}")));
        Self {
            cpu_user_seconds: user,
            cpu_system_seconds: system,
            peak_rss_bytes: status.as_deref().and_then(peak_rss),
            cgroup_quota_cpus: file("cpu.max").as_deref().and_then(quota_v2).or_else(|| quota_v1(&file)),
            cgroup_throttled_seconds: file("cpu.stat").as_deref().and_then(throttled),
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

/// The folder of the CPU controller: the unified hierarchy, else version 1's.
fn cgroup_folder(cgroups: &str) -> Option<String> {
    let mut unified = None;
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        if controllers.split(',').any(|controller| controller == "cpu") {
            return Some(format!("/sys/fs/cgroup/cpu{path}"));
        }
        if controllers.is_empty() {
            unified = Some(format!("/sys/fs/cgroup{path}"));
        }
    }
    unified
}

fn quota_v2(max: &str) -> Option<f64> {
    let (quota, period) = max.trim().split_once(' ')?;
    ratio(quota, period)
}

fn quota_v1(file: &impl Fn(&str) -> Option<String>) -> Option<f64> {
    ratio(&file("cpu.cfs_quota_us")?, &file("cpu.cfs_period_us")?)
}

fn ratio(quota: &str, period: &str) -> Option<f64> {
    // `max` and -1 mean that there is no quota.
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok()?;
    (period > 0).then(|| quota as f64 / period as f64)
}

fn throttled(stat: &str) -> Option<f64> {
    let value = |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let micros = value("throttled_usec ").map(|micros| micros as f64 / 1e6);
    micros.or_else(|| value("throttled_time ").map(|nanos| nanos as f64 / 1e9))
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
        let now = Process::now();
        assert!(now.cpu_user_seconds.is_some() && now.peak_rss_bytes.is_some());
    }

    #[test]
    fn quotas_of_both_cgroup_versions_are_understood() {
        assert_eq!(quota_v2("75000 100000\n"), Some(0.75));
        assert_eq!(quota_v2("max 100000\n"), None);
        let v1 = |name: &str| Some(if name.contains("quota") { "150000\n" } else { "100000\n" }.to_owned());
        assert_eq!(quota_v1(&v1), Some(1.5));
        assert_eq!(quota_v1(&|_: &str| Some("-1".to_owned())), None);
        assert_eq!(throttled("nr_periods 1\nthrottled_usec 1500000\n"), Some(1.5));
        assert_eq!(throttled("throttled_time 500000000\n"), Some(0.5));
        assert_eq!(cgroup_folder("0::/a/b\n").as_deref(), Some("/sys/fs/cgroup/a/b"));
        assert_eq!(cgroup_folder("4:cpu,cpuacct:/x\n0::/y\n").as_deref(), Some("/sys/fs/cgroup/cpu/x"));
    }
}
