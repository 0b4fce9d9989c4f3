//! CPU time, as the kernel accounts it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

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
