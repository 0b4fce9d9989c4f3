//! What a store holds: the stage's own state, its WASI and its log, and the limits of its instance.

use super::budget::{BudgetSpent, CpuBudget, CpuMeter};
use super::limiter::{Limiter, MAX_HANDLES};
use super::log::Log;
use super::wasi::Wasi;
use crate::bindings::log;
use crate::policy::Limits;
use crate::stream::Pulse;

/// The data of one instance's store.
pub struct StoreState<S> {
    /// What the stage's host functions need.
    pub stage: S,
    /// Whether the component is waited for.
    pub pulse: Pulse,
    /// WASI, which grants nothing.
    pub wasi: Wasi,
    log: Log,
    pub(super) limiter: Limiter,
    budget: CpuBudget,
}

impl<S> StoreState<S> {
    pub(super) fn new(name: &str, stage: S, pulse: Pulse, limits: &Limits, cpu: CpuMeter) -> Self {
        let log = Log::new(name);
        Self {
            stage,
            pulse,
            wasi: Wasi::new(log.clone(), MAX_HANDLES),
            log,
            limiter: Limiter::new(limits.component_memory),
            budget: CpuBudget::new(limits.component_cpu, cpu),
        }
    }

    /// At an epoch check of the running guest: whether it may go on.
    pub(super) fn spend(&self) -> Result<(), BudgetSpent> {
        self.budget.spend(self.pulse.total())
    }
}

impl<S> log::Host for StoreState<S> {
    fn log(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.log.write(level, &message);
        Ok(())
    }
}
