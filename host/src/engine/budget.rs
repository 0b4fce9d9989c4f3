//! CPU as a budget: epochs that passed while a guest was running, against what was granted and what delivered bytes earn.
//! Waiting costs nothing.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// One epoch. A guest is interrupted at its next check after each.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// CPU time that each MiB of delivered bytes earns: ten times what a byte loop in an interpreted guest needs.
const EARNED_PER_MIB: Duration = Duration::from_secs(1);

/// The engine's clock, in epochs.
#[derive(Clone, Default)]
pub(super) struct Epochs(Arc<AtomicU64>);

/// What one instance has spent. A guest that is woken often but briefly crosses few epochs, each of which counts in full:
/// on average it is charged what it used.
#[derive(Clone)]
pub(super) struct CpuMeter {
    epochs: Epochs,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    spent: AtomicU64,
    /// The epoch up to which the current poll has been charged.
    charged: AtomicU64,
}

/// What one instance may spend.
pub(super) struct CpuBudget {
    granted: u64,
    meter: CpuMeter,
}

/// The error of a guest that spent its budget.
#[derive(Debug)]
pub(super) struct BudgetSpent {
    pub(super) after: Duration,
}

impl Epochs {
    /// One more has passed.
    pub(super) fn advance(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

impl CpuMeter {
    pub(super) fn new(epochs: Epochs) -> Self {
        Self { epochs, shared: Arc::default() }
    }

    /// `run`, of which only the time within its polls is charged.
    pub(super) async fn over<F: Future>(&self, run: F) -> F::Output {
        let mut run = pin!(run);
        std::future::poll_fn(|cx| {
            self.shared.charged.store(self.epochs.0.load(Relaxed), Relaxed);
            run.as_mut().poll(cx)
        })
        .await
    }

    /// Charges what has passed of the current poll; gives all that was spent so far.
    fn charge(&self) -> u64 {
        let now = self.epochs.0.load(Relaxed);
        let passed = now.saturating_sub(self.shared.charged.swap(now, Relaxed));
        self.shared.spent.fetch_add(passed, Relaxed).saturating_add(passed)
    }
}

impl CpuBudget {
    pub(super) fn new(granted: Duration, meter: CpuMeter) -> Self {
        Self { granted: ticks(granted), meter }
    }

    /// At an epoch check of a running guest, which has delivered so many bytes so far: whether it may go on.
    pub(super) fn spend(&self, delivered: u64) -> Result<(), BudgetSpent> {
        let spent = self.meter.charge();
        let earned = (delivered >> 20).saturating_mul(ticks(EARNED_PER_MIB));
        if spent > self.granted.saturating_add(earned) {
            let after = TICK.saturating_mul(u32::try_from(spent).unwrap_or(u32::MAX));
            return Err(BudgetSpent { after });
        }
        Ok(())
    }
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for BudgetSpent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the CPU budget was spent after {:.1} s", self.after.as_secs_f64())
    }
}

impl std::error::Error for BudgetSpent {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_delivered_earns_more() {
        let epochs = Epochs::default();
        let meter = CpuMeter::new(epochs.clone());
        let budget = CpuBudget::new(Duration::from_secs(1), meter.clone());
        meter
            .over(async {
                for _ in 0..100 {
                    epochs.advance();
                    assert!(budget.spend(0).is_ok());
                }
                epochs.advance();
                assert!(budget.spend(0).is_err());
                assert!(budget.spend(1 << 20).is_ok());
                assert!(budget.spend((1 << 20) - 1).is_err());
            })
            .await;
    }

    #[tokio::test]
    async fn waiting_is_free() {
        let epochs = Epochs::default();
        let meter = CpuMeter::new(epochs.clone());
        let budget = CpuBudget::new(Duration::ZERO, meter.clone());
        let waits = async {
            tokio::task::yield_now().await;
            assert!(budget.spend(0).is_ok(), "the epochs passed between two polls");
            epochs.advance();
            assert!(budget.spend(0).is_err(), "this one within a poll");
        };
        let clock = async {
            for _ in 0..1000 {
                epochs.advance();
            }
        };
        tokio::join!(meter.over(waits), clock);
    }
}
