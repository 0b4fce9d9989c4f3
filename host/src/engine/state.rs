//! What a store holds: the stage's own state, and the limits of its instance.

use super::budget::{BudgetSpent, CpuBudget, CpuMeter};
use super::limiter::Limiter;
use crate::bindings::log;
use crate::policy::Limits;
use crate::stream::Pulse;

/// The most bytes of one message that are shown.
const MAX_MESSAGE: usize = 4096;
/// The most messages of one instance that are shown.
const MAX_MESSAGES: u32 = 256;

/// The data of one instance's store.
pub struct StoreState<S> {
    /// What the stage's host functions need.
    pub stage: S,
    /// Whether the component is waited for.
    pub pulse: Pulse,
    name: String,
    messages: u32,
    pub(super) limiter: Limiter,
    budget: CpuBudget,
}

impl<S> StoreState<S> {
    pub(super) fn new(name: &str, stage: S, pulse: Pulse, limits: &Limits, cpu: CpuMeter) -> Self {
        Self {
            stage,
            pulse,
            name: name.to_owned(),
            messages: 0,
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
        self.messages = self.messages.saturating_add(1);
        if self.messages > MAX_MESSAGES {
            return Ok(());
        }
        let shown = message.get(..message.floor_char_boundary(MAX_MESSAGE)).unwrap_or_default();
        let shown: String = shown.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        match level {
            log::Level::Debug => tracing::debug!(component = self.name, "{shown}"),
            log::Level::Info => tracing::info!(component = self.name, "{shown}"),
            log::Level::Warn => tracing::warn!(component = self.name, "{shown}"),
            log::Level::Error => tracing::error!(component = self.name, "{shown}"),
        }
        Ok(())
    }
}
