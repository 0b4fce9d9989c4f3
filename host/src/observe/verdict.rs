//! What limited a transfer: rules that turn its figures into one culprit, one sentence of evidence and one of advice.
//!
//! One thread carries the flow, and the kernel's buffers let both peers go on while it works. So a peer that is waited for
//! is slower than everything here, however much was worked meanwhile; and where nobody is waited for, the CPU is the limit.
//! Work that a choice of the user's causes goes before work that has to be done, and before a quota that only makes it
//! tell. Nothing is claimed that was not measured.

use std::time::Duration;

use super::words::{advice_on_cpu, dearest, percent, rate, seconds, share, slower_peer};
use super::{Bottleneck, Culprit, End, Figures, Task, WaitsFor};

/// A shorter transfer says nothing about who is slow.
const SHORTEST: Duration = Duration::from_secs(1);
/// What reaches so much of `--limit-rate` is held back by it.
const AT_LIMIT: f64 = 0.95;
/// Whoever was waited for so much of the transfer is slower than this process: a little waiting is there in any transfer.
const SLOW: f64 = 0.2;
/// Work that costs so much of the CPU and could be avoided is the culprit.
const AVOIDABLE: f64 = 0.25;
/// A quota that holds the process back for so much of the transfer, and in so many of its periods, is the culprit.
const THROTTLED: f64 = 0.2;
/// The process was ready to run for so much of the transfer and was not let.
const STARVED: f64 = 0.3;

/// What limited the transfer with these figures.
#[must_use]
pub fn verdict(figures: &Figures) -> Bottleneck {
    nothing(figures)
        .or_else(|| rate_limit(figures))
        .or_else(|| finishing(figures))
        .or_else(|| waited_for(figures))
        .or_else(|| avoidable(figures))
        .or_else(|| quota(figures))
        .unwrap_or_else(|| cpu(figures))
}

fn nothing(figures: &Figures) -> Option<Bottleneck> {
    let (evidence, advice) = match figures.received {
        0 => ("no bytes moved".to_owned(), "what came before the first byte is in the messages above"),
        _ if figures.transfer.saturating_add(figures.finishing) < SHORTEST => (
            format!("the transfer took {}, too short to tell", seconds(figures.transfer)),
            "nothing: what takes no time cannot be made faster",
        ),
        _ => return None,
    };
    Some(Bottleneck { culprit: Culprit::Nothing, evidence, advice: advice.to_owned() })
}

fn rate_limit(figures: &Figures) -> Option<Bottleneck> {
    let limit = figures.limit.map(|limit| limit as f64)?;
    let held = figures.waited(WaitsFor::RateLimit);
    let at_limit = figures.rate() >= AT_LIMIT * limit || share(held, figures.transfer) >= 0.5;
    (at_limit && !held.is_zero()).then(|| Bottleneck {
        culprit: Culprit::RateLimit,
        evidence: format!(
            "--limit-rate held the transfer at {}: {} of {} were waited out",
            rate(limit),
            percent(held, figures.transfer),
            seconds(figures.transfer)
        ),
        advice: "raise --limit-rate or leave it out".to_owned(),
    })
}

/// A registry that answers only long after it has all bytes.
fn finishing(figures: &Figures) -> Option<Bottleneck> {
    let answer = figures.registry_finishing;
    (figures.finishing > figures.transfer && share(answer, figures.finishing) >= 0.5).then(|| Bottleneck {
        culprit: Culprit::Registry,
        evidence: format!(
            "the registry took {} to commit the image after it had got its bytes within {}",
            seconds(answer),
            seconds(figures.transfer)
        ),
        advice: "nothing to gain locally: the registry's storage copies or hashes what it already has".to_owned(),
    })
}

/// Somebody who was waited for, while this process had nothing to do.
fn waited_for(figures: &Figures) -> Option<Bottleneck> {
    let registry = figures.waited(WaitsFor::RegistryTakes).saturating_add(figures.waited(WaitsFor::RegistryAnswers));
    let candidates = [
        (Culprit::Registry, registry),
        (Culprit::Source, figures.waited(WaitsFor::Source)),
        (Culprit::DiskWrites, figures.waited(WaitsFor::DiskWrites)),
        (Culprit::Spool, figures.waited(WaitsFor::Spool)),
        (Culprit::DiskReads, figures.waited(WaitsFor::DiskReads)),
        (Culprit::Checksums, figures.waited(WaitsFor::Checksums)),
        (Culprit::Compressor, figures.waited(WaitsFor::Compressor)),
        (Culprit::Other, figures.waited(WaitsFor::Other)),
    ];
    let (culprit, time) = candidates.into_iter().max_by_key(|(_, time)| *time)?;
    let too_little = share(time, figures.transfer) < SLOW && time < figures.busy();
    if too_little || is_held_back(figures) {
        return None;
    }
    let (waited, at) = (percent(time, figures.transfer), rate(figures.rate()));
    let of = seconds(figures.transfer);
    let (evidence, advice) = match culprit {
        Culprit::Registry => slower_peer(figures, End::Registry, time),
        Culprit::Source => slower_peer(figures, End::Source, time),
        Culprit::DiskWrites => (
            format!("the disk that is written to took {at}: {waited} of {of} were spent waiting for it"),
            figures.ends.advice_on_disk().to_owned(),
        ),
        Culprit::Spool => (
            format!("the disk of the spool took {at}: {waited} of {of} were spent waiting for it"),
            "put the spool on a faster disk (--spool DIR), or do without one".to_owned(),
        ),
        Culprit::DiskReads => (
            format!("SOURCE was read at {at}: {waited} of {of} were spent waiting for its disk or pipe"),
            "nothing to gain here: a faster disk, or whoever writes into the pipe".to_owned(),
        ),
        Culprit::Checksums | Culprit::Compressor => {
            let is_it = |task: &Task| match culprit {
                Culprit::Checksums => matches!(task, Task::Checksums(_)),
                _ => matches!(task, Task::Component("compressor", _)),
            };
            let spent = figures.spent.iter().find(|spent| is_it(&spent.task))?;
            advice_on_cpu(figures, spent, Some(time))
        }
        _ => (
            format!("for {waited} of {of} neither a peer nor a disk nor the CPU was waited for"),
            "a component that sleeps does this: see which one is not built in".to_owned(),
        ),
    };
    Some(Bottleneck { culprit, evidence, advice })
}

/// Work that a choice causes: another choice would save it.
fn avoidable(figures: &Figures) -> Option<Bottleneck> {
    let culprit = |task: &Task| match task {
        Task::Tls(_, suites) if figures.aes && suites.iter().any(|suite| is_software(suite)) => Some(Culprit::Tls),
        Task::Checksums(_) => Some(Culprit::Checksums),
        Task::Component("compressor", _) => Some(Culprit::Compressor),
        Task::Component("filter", _) => Some(Culprit::Filter),
        Task::Component("source", _) => Some(Culprit::SourceComponent),
        _ => None,
    };
    let known = figures.spent.iter().filter_map(|spent| Some((culprit(&spent.task)?, spent)));
    let cost = |(of, _): &(Culprit, _)| -> Duration {
        known.clone().filter(|(other, _)| other == of).map(|(_, spent)| spent.cpu).sum()
    };
    let dearest = known.clone().max_by_key(|each| (cost(each), each.1.cpu))?;
    if share(cost(&dearest), figures.cpu()) < AVOIDABLE {
        return None;
    }
    let (evidence, advice) = advice_on_cpu(figures, dearest.1, None);
    Some(Bottleneck { culprit: dearest.0, evidence, advice })
}

fn quota(figures: &Figures) -> Option<Bottleneck> {
    let quota = figures.quota.filter(|_| is_held_back(figures))?;
    let throttled = quota.throttled;
    let evidence = format!(
        "the cgroup's quota of {:.2} CPUs was used up in {} of {} periods and held the process back for {} of {}; its CPU \
         time went to {}",
        quota.cpus,
        throttled.throttled_periods,
        throttled.periods,
        seconds(throttled.time.min(figures.transfer)),
        seconds(figures.transfer),
        dearest(figures)
    );
    let most = figures
        .local_pace()
        .map_or_else(String::new, |pace| format!(": with a whole CPU this process moves {}", rate(pace)));
    Some(Bottleneck { culprit: Culprit::CpuQuota, evidence, advice: format!("raise the CPU quota{most}") })
}

fn cpu(figures: &Figures) -> Bottleneck {
    let (busy, starved) = (figures.busy(), figures.starved());
    if share(starved, figures.transfer) >= STARVED {
        let evidence = format!(
            "the process was ready to run for {} of {} and got a CPU for {} of them: others ran instead",
            seconds(busy),
            seconds(figures.transfer),
            seconds(figures.thread_cpu)
        );
        let pace = figures
            .local_pace()
            .map_or_else(String::new, |pace| format!(": with a whole CPU this process moves {}", rate(pace)));
        return Bottleneck { culprit: Culprit::Cpu, evidence, advice: format!("leave it a CPU of its own{pace}") };
    }
    let evidence = format!(
        "this process worked for {} of {} and moved {}; its CPU time went to {}",
        percent(busy, figures.transfer),
        seconds(figures.transfer),
        rate(figures.rate()),
        dearest(figures)
    );
    let advice = if !figures.aes && figures.spent.iter().any(|spent| matches!(spent.task, Task::Tls(..))) {
        "this CPU has no instructions for AES: one that has them spends less on TLS"
    } else {
        "nothing to gain by settings: both ends were faster than one CPU of this machine"
    };
    Bottleneck { culprit: Culprit::Cpu, evidence, advice: advice.to_owned() }
}

/// Whether a quota keeps the process from running when it could. Then who was waited for says little: it may have been
/// there long before the process was let to look.
pub(super) fn is_held_back(figures: &Figures) -> bool {
    figures.quota.is_some_and(|quota| {
        let (periods, all) = (quota.throttled.throttled_periods as f64, quota.throttled.periods as f64);
        share(quota.throttled.time, figures.transfer) >= THROTTLED && periods >= THROTTLED * all
    })
}

/// Whether a cipher suite (by its IANA name) makes no use of a CPU's instructions for AES.
pub(super) fn is_software(suite: &str) -> bool {
    !suite.contains("_AES_")
}

#[cfg(test)]
mod tests {
    use super::super::{Quota, Spent, Throttled};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MIB: f64 = 1024.0 * 1024.0;
    const GCM: &str = "TLS_AES_128_GCM_SHA256";
    const CHACHA: &str = "TLS_CHACHA20_POLY1305_SHA256";

    /// 1000 MiB within 10 s, of which nothing was waited for, on a CPU all the time.
    fn figures() -> Figures {
        Figures {
            transfer: 10 * SECOND,
            received: 1000 << 20,
            thread_cpu: 10 * SECOND,
            spent: vec![
                spent(Task::Digest, 4),
                spent(Task::Tls(End::Source, vec![GCM.to_owned()]), 2),
                spent(Task::Tls(End::Registry, vec![GCM.to_owned()]), 1),
                spent(Task::Sockets(End::Source), 1),
                spent(Task::Rest, 2),
            ],
            aes: true,
            ..Figures::default()
        }
    }

    fn spent(task: Task, seconds: u32) -> Spent {
        Spent { task, busy: seconds * SECOND, cpu: seconds * SECOND }
    }

    fn waiting(whom: WaitsFor, seconds: u32) -> Figures {
        Figures { waited: vec![(whom, seconds * SECOND)], thread_cpu: (10 - seconds) * SECOND, ..figures() }
    }

    fn spending(task: Task, seconds: u32) -> Figures {
        let mut figures = figures();
        figures.spent.push(spent(task, seconds));
        figures
    }

    fn quota(throttled: u32, periods: u64) -> Option<Quota> {
        let throttled = Throttled { periods: 100, throttled_periods: periods, time: throttled * SECOND };
        Some(Quota { cpus: 0.75, throttled })
    }

    fn component(kind: &'static str) -> Task {
        Task::Component(kind, "x".to_owned())
    }

    #[test]
    fn the_culprit_is_named() {
        use Culprit as C;
        let tls = |suite: &str| Task::Tls(End::Registry, vec![suite.to_owned()]);
        let rows: [(&str, Figures, Culprit); 30] = [
            ("nothing came", Figures { received: 0, ..figures() }, C::Nothing),
            ("short", Figures { transfer: SECOND / 2, ..waiting(WaitsFor::Source, 0) }, C::Nothing),
            ("source", waiting(WaitsFor::Source, 9), C::Source),
            ("source that is a little slower", waiting(WaitsFor::Source, 3), C::Source),
            ("a little waiting", waiting(WaitsFor::Source, 1), C::Cpu),
            ("registry", waiting(WaitsFor::RegistryTakes, 9), C::Registry),
            ("registry's answer", waiting(WaitsFor::RegistryAnswers, 9), C::Registry),
            ("disk read", waiting(WaitsFor::DiskReads, 9), C::DiskReads),
            ("disk written", waiting(WaitsFor::DiskWrites, 9), C::DiskWrites),
            ("spooled", waiting(WaitsFor::Spool, 9), C::Spool),
            ("nobody known", waiting(WaitsFor::Other, 9), C::Other),
            ("limit", Figures { limit: Some(1 << 20), ..waiting(WaitsFor::RateLimit, 9) }, C::RateLimit),
            ("limit just reached", Figures { limit: Some(100 << 20), ..waiting(WaitsFor::RateLimit, 1) }, C::RateLimit),
            ("limit not reached", Figures { limit: Some(1 << 30), ..waiting(WaitsFor::Source, 9) }, C::Source),
            ("commit", Figures { finishing: 30 * SECOND, registry_finishing: 29 * SECOND, ..figures() }, C::Registry),
            ("cpu", figures(), C::Cpu),
            ("starved", Figures { thread_cpu: 5 * SECOND, ..figures() }, C::Cpu),
            ("quota", Figures { quota: quota(7, 90), thread_cpu: 3 * SECOND, ..figures() }, C::CpuQuota),
            ("quota that did nothing", Figures { quota: quota(0, 0), ..figures() }, C::Cpu),
            ("quota, seldom", Figures { quota: quota(7, 9), ..waiting(WaitsFor::Source, 5) }, C::Source),
            (
                "quota, and a peer in between",
                Figures { quota: quota(7, 90), ..waiting(WaitsFor::Source, 5) },
                C::CpuQuota,
            ),
            ("software", spending(tls(CHACHA), 4), C::Tls),
            ("software under a quota", Figures { quota: quota(7, 90), ..spending(tls(CHACHA), 4) }, C::Tls),
            ("software, a little", spending(tls(CHACHA), 2), C::Cpu),
            ("hardware, a lot", spending(tls(GCM), 9), C::Cpu),
            ("software where there is no hardware", Figures { aes: false, ..spending(tls(CHACHA), 4) }, C::Cpu),
            ("checksums", spending(Task::Checksums(vec!["streebog512".to_owned()]), 9), C::Checksums),
            ("compressor", spending(component("compressor"), 30), C::Compressor),
            ("filter", spending(component("filter"), 9), C::Filter),
            ("source component", spending(component("source"), 9), C::SourceComponent),
        ];
        for (what, figures, culprit) in rows {
            let said = verdict(&figures);
            assert_eq!(said.culprit, culprit, "{what}: {said:?}");
            assert!(!said.evidence.is_empty() && !said.advice.is_empty() && !said.evidence.ends_with('.'), "{said:?}");
        }
    }

    #[test]
    fn threads_beside_the_flow_that_hold_it_up_are_what_they_compute() {
        let checksums = spent(Task::Checksums(vec!["md5".to_owned()]), 9);
        let mut figures = waiting(WaitsFor::Checksums, 8);
        figures.spent.push(checksums);
        let said = verdict(&figures);
        assert_eq!(said.culprit, Culprit::Checksums);
        assert!(said.evidence.contains("checksums (md5) took 47 % of the CPU time"), "{}", said.evidence);
        assert!(said.evidence.contains("was waited for 80 % of 10.0 s"), "{}", said.evidence);
    }

    #[test]
    fn a_slow_peer_is_told_with_what_the_other_could_do() {
        let slow = Figures { source_pace: Some(210.0 * MIB), ..waiting(WaitsFor::RegistryTakes, 9) };
        let said = verdict(&slow).evidence;
        assert_eq!(
            said,
            "the registry accepted 100 MiB/s and was waited for 90 % of 10.0 s; the source could give 210 MiB/s; this \
             process could move 1000 MiB/s"
        );
        // What was not seen is not claimed: a pace below what it gave all in all, and none at all.
        for (pace, says) in
            [(Some(20.0 * MIB), "the source was never waited for"), (None, "the source was never waited for")]
        {
            let said = verdict(&Figures { source_pace: pace, ..slow.clone() }).evidence;
            assert!(said.contains(says) && !said.contains("could give"), "{said}");
        }
        let both = Figures {
            waited: vec![(WaitsFor::Source, SECOND), (WaitsFor::RegistryTakes, 8 * SECOND)],
            source_pace: None,
            ..slow
        };
        let said = verdict(&both).evidence;
        assert!(said.contains("the registry accepted") && !said.contains("the source"), "{said}");
    }

    #[test]
    fn the_ends_are_called_what_they_are() {
        use super::super::{Ends, Giver, Taker};
        let say = |whom, from, to| {
            let said = verdict(&Figures { ends: Ends { from, to }, ..waiting(whom, 9) });
            format!("{}. {}", said.evidence, said.advice)
        };
        let upload = say(WaitsFor::Source, Giver::Client, Taker::Registry);
        assert!(
            upload.starts_with("the client gave 100 MiB/s") && upload.contains("the registry took all"),
            "{upload}"
        );
        assert!(!upload.contains("source"), "{upload}");
        let slow = say(WaitsFor::RegistryTakes, Giver::Client, Taker::Registry);
        assert!(slow.contains("the registry accepted") && slow.contains("the client was never waited for"), "{slow}");
        let export = say(WaitsFor::Source, Giver::Registry, Taker::File);
        assert!(export.starts_with("the registry gave 100 MiB/s"), "{export}");
        assert!(!export.contains("source or") && !export.contains("registry took"), "{export}");
        let written = say(WaitsFor::DiskWrites, Giver::Registry, Taker::File);
        assert!(written.ends_with("write elsewhere"), "{written}");
        let layout = say(WaitsFor::Source, Giver::Source, Taker::Layout);
        assert!(layout.starts_with("the source gave") && !layout.contains("registry"), "{layout}");
    }

    #[test]
    fn a_software_suite_is_told_with_both_ends_and_the_quota() {
        let mut figures = Figures { quota: quota(7, 90), ..figures() };
        figures.spent = vec![spent(Task::Digest, 3)];
        for end in [End::Source, End::Registry] {
            figures.spent.push(spent(Task::Tls(end, vec![CHACHA.to_owned()]), 6));
        }
        assert_eq!(
            verdict(&figures).evidence,
            "TLS in TLS_CHACHA20_POLY1305_SHA256 with the source and the registry took 80 % of the CPU time, 12.0 s of \
             15.0 s; the transfer moved 100 MiB/s under a quota of 0.75 CPUs that was used up"
        );
    }

    #[test]
    fn the_cpu_is_told_with_what_it_was_spent_on() {
        let said = verdict(&figures()).evidence;
        assert!(
            said.contains("SHA-256 of the layer (40 %), TLS with the source (TLS_AES_128_GCM_SHA256) (20 %)"),
            "{said}"
        );
        assert!(!said.contains("the rest"), "it says nothing: {said}");
    }
}
