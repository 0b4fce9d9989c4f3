//! CPU as a budget: epochs spent running, against what was granted and what delivered bytes earn.

use std::fmt;
use std::time::Duration;

use super::runtime::TICK;

/// CPU time that each MiB of delivered bytes earns: ten times what a byte loop in an interpreted guest needs.
const EARNED_PER_MIB: Duration = Duration::from_secs(1);

/// What one instance may spend.
pub(super) struct CpuBudget {
    granted: u64,
    spent: u64,
}

/// The error of a guest that spent its budget.
#[derive(Debug)]
pub(super) struct BudgetSpent {
    pub(super) after: Duration,
}

impl CpuBudget {
    pub(super) fn new(granted: Duration) -> Self {
        Self { granted: ticks(granted), spent: 0 }
    }

    /// One epoch passed while the guest was running, which has delivered so many bytes so far.
    pub(super) fn spend(&mut self, delivered: u64) -> Result<(), BudgetSpent> {
        self.spent = self.spent.saturating_add(1);
        let earned = (delivered >> 20).saturating_mul(ticks(EARNED_PER_MIB));
        if self.spent > self.granted.saturating_add(earned) {
            let after = TICK.saturating_mul(u32::try_from(self.spent).unwrap_or(u32::MAX));
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

    #[test]
    fn what_is_delivered_earns_more() {
        let mut budget = CpuBudget::new(Duration::from_secs(1));
        for _ in 0..100 {
            assert!(budget.spend(0).is_ok());
        }
        assert!(budget.spend(0).is_err());
        assert!(budget.spend(1 << 20).is_ok());
        assert!(budget.spend((1 << 20) - 1).is_err());
    }
}
