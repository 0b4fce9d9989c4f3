//! CPU time, as the kernel accounts it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How the CPU time of a thread is shared out among what it was busy with.
///
/// As long as the thread nearly always had a CPU when it was busy, by the clock. A thread that was held back, by a quota or by
/// others, was so in the middle of some stretch of work, often in the kernel: then the clock says little, and what counts of
/// each stretch is what it can have needed a CPU for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuShare {
    /// Of the time by the clock.
    of_busy: f64,
    /// Of the time that stretches can have needed, and that time's part of the clock's; if the thread was held back.
    of_steady: Option<(f64, f64)>,
}

/// Below this part of its busy time on a CPU a thread was held back.
const HELD_BACK: f64 = 0.8;

impl CpuShare {
    /// Of a thread that had `cpu` while it was awake for that long: for `busy` by the clock with what has a meter, `steady` of
    /// it in stretches as they are without interruption.
    pub(super) fn new(cpu: Duration, awake: Duration, busy: Duration, steady: Duration) -> Self {
        let seconds = |time: Duration| time.as_secs_f64().max(f64::EPSILON);
        let of_busy = (cpu.as_secs_f64() / seconds(awake)).min(1.0);
        let part = steady.as_secs_f64() / seconds(busy);
        let rest = awake.saturating_sub(busy).as_secs_f64() * part;
        let of_steady = cpu.as_secs_f64() / (seconds(steady) + rest);
        Self { of_busy, of_steady: (of_busy < HELD_BACK && !steady.is_zero()).then_some((of_steady, part)) }
    }

    /// CPU time of what was `busy` by the clock, `steady` of it without interruption: never more than by the clock.
    #[must_use]
    pub fn of(&self, busy: Duration, steady: Duration) -> Duration {
        match self.of_steady {
            Some((share, _)) => steady.mul_f64(share).min(busy),
            None => busy.mul_f64(self.of_busy),
        }
    }

    /// CPU time of what has no meter, and was interrupted as often as the others.
    pub(super) fn of_rest(&self, rest: Duration) -> Duration {
        match self.of_steady {
            Some((share, part)) => rest.mul_f64(share * part).min(rest),
            None => rest.mul_f64(self.of_busy),
        }
    }
}

/// CPU time of the calling thread so far (clock_gettime(2), `CLOCK_THREAD_CPUTIME_ID`).
#[must_use]
pub fn thread_cpu() -> Duration {
    spent(ClockId::ThreadCPUTime)
}

/// CPU time of the process so far, of threads that ended too.
#[must_use]
pub fn process_cpu() -> Duration {
    spent(ClockId::ProcessCPUTime)
}

fn spent(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_thread_with_a_cpu_of_its_own_is_shared_out_by_the_clock() {
        let share = CpuShare::new(millis(900), millis(1000), millis(800), millis(500));
        assert_eq!(share.of(millis(400), millis(100)), millis(360));
        assert_eq!(share.of_rest(millis(200)), millis(180));
    }

    #[test]
    fn a_thread_that_is_held_back_is_shared_out_by_what_its_work_can_have_needed() {
        // TLS had 60 ms in short stretches; 30 ms of socket calls were interrupted for most of a second.
        let share = CpuShare::new(millis(100), millis(1000), millis(900), millis(90));
        let (tls, sockets) = (share.of(millis(60), millis(60)), share.of(millis(840), millis(30)));
        let rest = share.of_rest(millis(100));
        assert!(tls >= 2 * sockets - millis(1), "{tls:?} {sockets:?}");
        let sum = tls + sockets + rest;
        assert!(sum <= millis(101) && sum >= millis(90), "{sum:?}");
        assert_eq!(share.of(millis(1), millis(60)), millis(1), "never more than by the clock");
    }

    #[test]
    fn sleeping_costs_nothing_and_the_process_is_all_of_its_threads() {
        std::thread::spawn(|| {
            let before = thread_cpu();
            std::thread::sleep(Duration::from_millis(50));
            let slept = thread_cpu().saturating_sub(before);
            assert!(slept < Duration::from_millis(25), "{slept:?}");
            while thread_cpu() < Duration::from_millis(10) {}
            assert!(process_cpu() >= thread_cpu());
        })
        .join()
        .unwrap();
    }
}
