//! The CPU quota this process lives under (cgroups(7); kernel documentation, admin-guide/cgroup-v2 "CPU", and
//! scheduler/sched-bwc for version 1).
//!
//! A quota may be set at any folder from the process's own up to the root that it can see: the tightest one holds, and its
//! folder's counters say how often it did.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Where a quota that holds this process is set.
#[derive(Clone, Debug)]
pub struct Cgroup {
    folder: PathBuf,
}

/// How often a quota has held back its cgroup, all processes of it together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttled {
    /// Periods in which somebody wanted to run.
    pub periods: u64,
    /// Those of them in which the quota was used up.
    pub throttled_periods: u64,
    /// How long it was held back, the sum over the CPUs it ran on.
    pub time: Duration,
}

/// Where the CPU controller is mounted, and which folder of the hierarchy stands there.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    root: String,
    point: String,
}

impl Cgroup {
    /// The cgroup of this process whose quota is the tightest; its own if there is none. None if nothing can be seen.
    #[must_use]
    pub fn own() -> Option<Self> {
        let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let (mount, path) =
            [true, false].into_iter().find_map(|first| Some((mounted(&mounts, first)?, path_in(&cgroups, first)?)))?;
        let own = folder(&mount, &path)?;
        let above = own.ancestors().take_while(|folder| folder.starts_with(&mount.point));
        let folders: Vec<Self> = above.map(|folder| Self { folder: folder.to_owned() }).collect();
        let quota = |cgroup: &Self| cgroup.quota_cpus().unwrap_or(f64::INFINITY);
        folders.into_iter().min_by(|one, other| quota(one).total_cmp(&quota(other)))
    }

    /// CPUs that may be used on average; none without a quota.
    #[must_use]
    pub fn quota_cpus(&self) -> Option<f64> {
        let max = self.file("cpu.max");
        max.as_deref().and_then(quota_v2).or_else(|| quota_v1(&|name: &str| self.file(name)))
    }

    /// What its quota did so far.
    #[must_use]
    pub fn throttled(&self) -> Throttled {
        self.file("cpu.stat").as_deref().map(throttled).unwrap_or_default()
    }

    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(name)).ok()
    }
}

impl Throttled {
    /// What was added since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            periods: self.periods.saturating_sub(before.periods),
            throttled_periods: self.throttled_periods.saturating_sub(before.throttled_periods),
            time: self.time.saturating_sub(before.time),
        }
    }
}

/// The process's path in the hierarchy with the CPU controller: version 1's, or the unified one.
fn path_in(cgroups: &str, first: bool) -> Option<String> {
    cgroups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let is_it = if first { controllers.split(',').any(|name| name == "cpu") } else { controllers.is_empty() };
        is_it.then(|| path.to_owned())
    })
}

/// Where that hierarchy is mounted (proc(5), /proc/pid/mountinfo).
fn mounted(mounts: &str, first: bool) -> Option<Mount> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let (mut before, mut after) = (before.split(' ').skip(3), after.split(' '));
        let (root, point) = (before.next()?, before.next()?);
        let (kind, options) = (after.next()?, after.nth(1)?);
        let is_it = match first {
            true => kind == "cgroup" && options.split(',').any(|option| option == "cpu"),
            false => kind == "cgroup2",
        };
        is_it.then(|| Mount { root: root.to_owned(), point: point.to_owned() })
    })
}

/// The folder of `path`. A container sees its own part of the hierarchy only, and sometimes paths of all of it.
fn folder(mount: &Mount, path: &str) -> Option<PathBuf> {
    let below = Path::new(path).strip_prefix(&mount.root).unwrap_or_else(|_| Path::new("")).to_owned();
    let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
    plain.then(|| Path::new(&mount.point).join(below))
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

fn throttled(stat: &str) -> Throttled {
    let value = |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let micros = value("throttled_usec ").map(Duration::from_micros);
    let time = micros.or_else(|| value("throttled_time ").map(Duration::from_nanos));
    Throttled {
        periods: value("nr_periods ").unwrap_or_default(),
        throttled_periods: value("nr_throttled ").unwrap_or_default(),
        time: time.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        22 1 0:20 / /sys rw - sysfs sysfs rw\n\
        30 22 0:26 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n\
        31 22 0:27 /pod/x /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        32 22 0:28 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n";

    #[test]
    fn quotas_of_both_versions_are_understood() {
        assert_eq!(quota_v2("75000 100000\n"), Some(0.75));
        assert_eq!(quota_v2("max 100000\n"), None);
        let v1 = |name: &str| Some(if name.contains("quota") { "150000\n" } else { "100000\n" }.to_owned());
        assert_eq!(quota_v1(&v1), Some(1.5));
        assert_eq!(quota_v1(&|_: &str| Some("-1".to_owned())), None);
    }

    #[test]
    fn what_a_quota_did_is_read_in_both_versions() {
        let expected = Throttled { periods: 9, throttled_periods: 7, time: Duration::from_millis(1500) };
        let second = "usage_usec 5\nnr_periods 9\nnr_throttled 7\nthrottled_usec 1500000\nnr_bursts 0\n";
        assert_eq!(throttled(second), expected);
        assert_eq!(throttled("nr_periods 9\nnr_throttled 7\nthrottled_time 1500000000\n"), expected);
        assert_eq!(throttled(""), Throttled::default());
        let before = Throttled { periods: 2, throttled_periods: 2, time: Duration::from_millis(500) };
        let since = Throttled { periods: 7, throttled_periods: 5, time: Duration::from_secs(1) };
        assert_eq!(expected.since(&before), since);
    }

    #[test]
    fn the_folder_is_found_where_it_is_mounted() {
        let first = mounted(MOUNTS, true).unwrap();
        assert_eq!(first.point, "/sys/fs/cgroup/cpu,cpuacct");
        let second = mounted(MOUNTS, false).unwrap();
        assert_eq!(second, Mount { root: "/".to_owned(), point: "/sys/fs/cgroup/unified".to_owned() });
        let cgroups = "4:cpu,cpuacct:/pod/x/own\n3:cpuset:/z\n0::/a/b\n";
        assert_eq!(path_in(cgroups, true).as_deref(), Some("/pod/x/own"));
        assert_eq!(path_in(cgroups, false).as_deref(), Some("/a/b"));
        assert_eq!(folder(&first, "/pod/x/own"), Some("/sys/fs/cgroup/cpu,cpuacct/own".into()));
        assert_eq!(folder(&second, "/a/b"), Some("/sys/fs/cgroup/unified/a/b".into()));
        assert_eq!(folder(&first, "/elsewhere"), Some("/sys/fs/cgroup/cpu,cpuacct".into()), "outside of what is seen");
        assert_eq!(folder(&second, "/../x"), None);
    }
}
