//! The verdict's words and numbers.

use std::time::Duration;

use super::verdict::{is_held_back, is_software};
use super::{End, Ends, Figures, Giver, Spent, Taker, Task, WaitsFor};

/// The most tasks that a sentence names.
const MAX_NAMED: usize = 3;

/// The part of a time in another, from 0.
pub(super) fn share(part: Duration, whole: Duration) -> f64 {
    part.as_secs_f64() / whole.as_secs_f64().max(f64::EPSILON)
}

pub(super) fn percent(part: Duration, whole: Duration) -> String {
    format!("{:.0} %", share(part, whole) * 100.0)
}

pub(super) fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        long if long >= 60.0 => format!("{} min {:02.0} s", (long / 60.0) as u64, long % 60.0),
        seconds if seconds >= 0.95 => format!("{seconds:.1} s"),
        seconds => format!("{seconds:.2} s"),
    }
}

pub(super) fn rate(per_second: f64) -> String {
    const UNITS: [(&str, f64); 3] = [("GiB", 1024.0 * 1024.0 * 1024.0), ("MiB", 1024.0 * 1024.0), ("KiB", 1024.0)];
    match UNITS.into_iter().find(|(_, unit)| per_second >= *unit) {
        Some((name, unit)) if per_second >= 100.0 * unit => format!("{:.0} {name}/s", per_second / unit),
        Some((name, unit)) => format!("{:.1} {name}/s", per_second / unit),
        None => format!("{per_second:.0} B/s"),
    }
}

/// What the CPU was spent on most, each with its part.
pub(super) fn dearest(figures: &Figures) -> String {
    let mut all: Vec<&Spent> = figures.spent.iter().filter(|spent| spent.task != Task::Rest).collect();
    all.sort_by_key(|spent| std::cmp::Reverse(spent.cpu));
    let named =
        all.iter().take(MAX_NAMED).map(|spent| format!("{} ({})", spent.task, percent(spent.cpu, figures.cpu())));
    named.collect::<Vec<_>>().join(", ")
}

impl Ends {
    /// Whom the disk comes from.
    const fn giver(self) -> &'static str {
        match self.from {
            Giver::Source => "source",
            Giver::Client => "client",
            Giver::Registry => "registry",
        }
    }

    /// What is to be done about a slow one.
    const fn advice_on_giver(self) -> &'static str {
        match self.from {
            Giver::Source => {
                "nothing to gain here: a faster source or a shorter way to it; over a long way several connections carry \
                 more, --source-connections N"
            }
            Giver::Registry => {
                "nothing to gain here: a faster registry or a shorter way to it; over a long way several connections carry \
                 more of a layer that is not compressed, --source-connections N"
            }
            Giver::Client => "nothing to gain here: a faster client or a shorter way from it",
        }
    }

    /// What is to be done about a slow disk at the other end.
    pub(super) const fn advice_on_disk(self) -> &'static str {
        match self.to {
            Taker::Registry | Taker::Layout => {
                "nothing to gain but by a faster disk: write elsewhere, or push to a registry"
            }
            Taker::File => "nothing to gain but by a faster disk: write elsewhere",
        }
    }
}

/// One end is slower than the other and than this process.
pub(super) fn slower_peer(figures: &Figures, slow: End, waited: Duration) -> (String, String) {
    let (at, waited) = (rate(figures.rate()), percent(waited, figures.transfer));
    let of = seconds(figures.transfer);
    let local =
        figures.local_pace().map_or_else(String::new, |pace| format!("; this process could move {}", rate(pace)));
    // A pace at or below what it gave adds nothing.
    let at_least = |pace: Option<f64>| pace.filter(|pace| *pace > figures.rate()).map(rate);
    match slow {
        End::Source => {
            let registry = match at_least(figures.registry_pace) {
                // Nobody but this process takes it there.
                _ if figures.ends.to != Taker::Registry => String::new(),
                Some(pace) => format!("; the registry could take {pace}"),
                None if figures.waited(WaitsFor::RegistryTakes).is_zero() => {
                    "; the registry took all at once".to_owned()
                }
                None => String::new(),
            };
            let giver = figures.ends.giver();
            let evidence = format!("the {giver} gave {at} and was waited for {waited} of {of}{registry}{local}");
            (evidence, figures.ends.advice_on_giver().to_owned())
        }
        End::Registry => {
            let giver = figures.ends.giver();
            let source = match at_least(figures.source_pace) {
                Some(pace) => format!("; the {giver} could give {pace}"),
                None if figures.waited(WaitsFor::Source).is_zero() => format!("; the {giver} was never waited for"),
                None => String::new(),
            };
            let evidence = format!("the registry accepted {at} and was waited for {waited} of {of}{source}{local}");
            let advice = "nothing to gain locally: a faster registry, its storage, or a shorter way to it";
            (evidence, advice.to_owned())
        }
    }
}

/// A task costs much of the CPU; with `waited`, of threads that the flow waited for.
pub(super) fn advice_on_cpu(figures: &Figures, spent: &Spent, waited: Option<Duration>) -> (String, String) {
    // Both ends may speak a slow suite: together they cost what they cost.
    let (what, cost) = match &spent.task {
        Task::Tls(..) => tls(figures),
        task => (task.to_string(), spent.cpu),
    };
    let mut evidence = format!(
        "{what} took {} of the CPU time, {} of {}",
        percent(cost, figures.cpu()),
        seconds(cost),
        seconds(figures.cpu())
    );
    if let Some(waited) = waited {
        evidence.push_str(&format!(
            ", and was waited for {} of {}",
            percent(waited, figures.transfer),
            seconds(figures.transfer)
        ));
    }
    evidence.push_str(&format!("; the transfer moved {}", rate(figures.rate())));
    if let Some(quota) = figures.quota.filter(|_| is_held_back(figures)) {
        evidence.push_str(&format!(" under a quota of {:.2} CPUs that was used up", quota.cpus));
    }
    let advice = match &spent.task {
        Task::Tls(..) => {
            "let the policy offer AES-GCM suites only, which this CPU accelerates: leave `tls.suites` out".to_owned()
        }
        Task::Checksums(_) => {
            "demand a cheaper checksum, sha256 or sha1, if the source has one: streebog and md5 cost most".to_owned()
        }
        Task::Component("compressor", _) => {
            "leave --compressor out: disks hardly shrink, and every reader has to undo it".to_owned()
        }
        Task::Component("filter", name) => {
            format!("give the disk as the filter `{name}` leaves it, if it is imported more than once")
        }
        Task::Component(kind, name) => format!("see what the {kind} `{name}` does with every byte"),
        Task::Digest | Task::Sockets(_) | Task::Rest | Task::Threads => "nothing to gain by settings".to_owned(),
    };
    (evidence, advice)
}

/// TLS in software suites, on both ends.
fn tls(figures: &Figures) -> (String, Duration) {
    let mut names: Vec<&str> = Vec::new();
    let mut ends = Vec::new();
    let mut cost = Duration::ZERO;
    for spent in &figures.spent {
        let Task::Tls(end, suites) = &spent.task else { continue };
        let slow: Vec<&str> = suites.iter().map(String::as_str).filter(|suite| is_software(suite)).collect();
        if slow.is_empty() {
            continue;
        }
        ends.push(end.as_str());
        names.extend(slow.iter().filter(|name| !names.contains(name)).copied().collect::<Vec<_>>());
        cost = cost.saturating_add(spent.cpu);
    }
    (format!("TLS in {} with the {}", names.join(", "), ends.join(" and the ")), cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let of = |seconds: f64| super::seconds(Duration::from_secs_f64(seconds));
        assert_eq!([of(0.123), of(0.96), of(59.0), of(61.4)], ["0.12 s", "1.0 s", "59.0 s", "1 min 01 s"]);
        let rates = [5.0, 2048.0, 3.5 * 1048576.0, 512.0 * 1048576.0, 2.5 * 1073741824.0].map(rate);
        assert_eq!(rates, ["5 B/s", "2.0 KiB/s", "3.5 MiB/s", "512 MiB/s", "2.5 GiB/s"]);
        assert_eq!(percent(Duration::ZERO, Duration::ZERO), "0 %");
    }
}
