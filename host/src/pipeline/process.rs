//! What this process cost, as the kernel accounts it.

use std::fs;
use std::num::NonZeroUsize;
use std::thread;

use serde::Serialize;

use crate::observe::{Cgroup, Figures};

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

/// CPUs this process can use at a time: those it may run on, or what its quota comes to, of which a part counts whole.
#[must_use]
pub(super) fn cpus() -> NonZeroUsize {
    let allowed = read("/proc/self/status").as_deref().and_then(cpus_allowed);
    let quota = Cgroup::own().and_then(|cgroup| cgroup.quota_cpus());
    // The standard library's count would do, but that it rounds a quota down: under one of 1.5 a second thread has use.
    granted(allowed, quota).or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

/// Of the mask in proc(5) status, hexadecimal in groups of eight digits.
fn cpus_allowed(status: &str) -> Option<u32> {
    let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:"))?.trim();
    mask.chars().filter(|digit| *digit != ',').map(|digit| Some(digit.to_digit(16)?.count_ones())).sum()
}

/// The lesser of the CPUs the scheduler allows and the quota, rounded up; none if the kernel tells nothing.
fn granted(allowed: Option<u32>, quota: Option<f64>) -> Option<NonZeroUsize> {
    let allowed = allowed.map(|cpus| usize::try_from(cpus).unwrap_or(usize::MAX))?;
    let whole = (1..allowed).find(|cpus| quota.is_some_and(|quota| quota <= *cpus as f64));
    NonZeroUsize::new(whole.unwrap_or(allowed))
}

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

    #[test]
    fn a_part_of_a_cpu_counts_whole_and_a_quota_beyond_the_machine_does_not() {
        let granted = |allowed, quota| granted(allowed, quota).map(NonZeroUsize::get);
        assert_eq!(granted(Some(8), None), Some(8));
        assert_eq!(granted(Some(8), Some(0.1)), Some(1));
        assert_eq!(granted(Some(8), Some(1.0)), Some(1));
        assert_eq!(granted(Some(8), Some(1.5)), Some(2));
        assert_eq!(granted(Some(8), Some(7.01)), Some(8));
        assert_eq!(granted(Some(8), Some(64.0)), Some(8));
        assert_eq!(granted(Some(1), Some(0.75)), Some(1));
        assert_eq!((granted(None, Some(4.0)), granted(Some(0), None)), (None, None));
        assert_eq!(cpus_allowed("Name:\tx\nCpus_allowed:\t00000000,0000f00b\nCpus_allowed_list:\t0-1,3\n"), Some(7));
        assert_eq!((cpus_allowed("Name:\tx\n"), cpus_allowed("Cpus_allowed:\tall\n")), (None, None));
        assert!(cpus() >= NonZeroUsize::MIN);
    }
}
