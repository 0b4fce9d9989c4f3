//! The engine, and the clock that lets it interrupt guests.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::budget::{Epochs, TICK};
use super::config::config;
use crate::error::{Error, Result, Stage};
use crate::policy::Limits;

/// Where guests run. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    limits: Arc<Limits>,
    epochs: Epochs,
}

/// Advances the epoch as long as it lives.
pub struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// The engine for this program's target, whose guests live within `limits`.
    ///
    /// # Errors
    /// `internal` if the target is not one that wasmtime knows.
    pub fn new(limits: &Limits) -> Result<Self> {
        let inner = config(env!("LONGSHORE_TARGET"))
            .and_then(|config| wasmtime::Engine::new(&config))
            .map_err(|why| Error::internal(Stage::Plan, format!("the engine cannot be made: {why:#}")))?;
        Ok(Self { inner, limits: Arc::new(limits.clone()), epochs: Epochs::default() })
    }

    /// Starts the clock without which no guest is ever interrupted.
    ///
    /// # Errors
    /// `internal` if there is no thread to be had.
    pub fn ticker(&self) -> Result<Ticker> {
        let stop = Arc::new(AtomicBool::new(false));
        let (engine, epochs, stopped) = (self.inner.weak(), self.epochs.clone(), Arc::clone(&stop));
        let thread = thread::Builder::new().name("epoch".to_owned()).stack_size(64 * 1024).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                thread::park_timeout(TICK);
                let Some(engine) = engine.upgrade() else { return };
                epochs.advance();
                engine.increment_epoch();
            }
        });
        let thread =
            thread.map_err(|why| Error::internal(Stage::Plan, format!("no thread for the epoch clock: {why}")))?;
        Ok(Ticker { stop, thread: Some(thread) })
    }

    /// What tells artifacts of this engine from those of others: version, configuration and target of the compiler.
    pub(super) fn mark(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.inner.precompile_compatibility_hash().hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    pub(super) fn epochs(&self) -> Epochs {
        self.epochs.clone()
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn inner(&self) -> &wasmtime::Engine {
        &self.inner
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there would already have been reported.
            let _ = thread.join();
        }
    }
}
