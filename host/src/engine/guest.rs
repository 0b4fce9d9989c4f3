//! One instance in its store, run under watch.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Accessor, HasSelf, Instance, InstancePre, Linker};
use wasmtime::{Store, Trap, UpdateDeadline};
use wasmtime_wasi::I32Exit;

use super::budget::{BudgetSpent, CpuMeter};
use super::component::{Component, Kind};
use super::limiter::{MAX_HANDLES, MemorySpent};
use super::runtime::Engine;
use super::state::StoreState;
use super::wasi;
use super::watch::Watch;
use crate::bindings::{describe, log};
use crate::error::{Code, Error, Result};
use crate::observe::Meter;
use crate::stream::Pulse;

/// How long a stream or an outcome may stay open after the guest's last task has ended.
pub const LINGER: Duration = Duration::from_millis(50);

/// Bytes that one call may copy between host and guest, streams aside: a window read and a layer's literals fit.
const MAX_CALL_BYTES: usize = 4 << 20;
/// The most characters of a description's name and version.
const MAX_DESCRIPTION: usize = 64;

/// Adds a stage's own host functions to its linker.
pub type Linking<S> = fn(&mut Linker<StoreState<S>>) -> wasmtime::Result<()>;

/// An instance that has described itself.
pub struct Guest<S: 'static> {
    store: Store<StoreState<S>>,
    instance: Instance,
    pre: InstancePre<StoreState<S>>,
    kind: Kind,
    name: String,
    cpu: CpuMeter,
    work: Arc<Meter>,
    watch: Watch,
    description: describe::Description,
}

impl<S: Send + 'static> Guest<S> {
    /// Instantiates `component` in a store of its own, with `stage` as its state and nothing else within reach.
    ///
    /// # Errors
    /// `component-invalid` if it does not fit its world or says that it is something else; any error of a guest that runs,
    /// as its start runs.
    pub async fn new(engine: &Engine, component: &Component, stage: S, pulse: Pulse, link: Linking<S>) -> Result<Self> {
        let (kind, limits) = (component.kind(), component.limits(engine.limits()));
        let invalid = |why: &wasmtime::Error| {
            let message = format!("`{}` does not fit the world of a {}: {why:#}", component.name(), kind.as_str());
            Error::new(Code::ComponentInvalid, kind.stage(), message)
        };
        let mut linker = Linker::new(engine.inner());
        log::add_to_linker::<_, HasSelf<StoreState<S>>>(&mut linker, |state| state)
            .and_then(|()| wasi::link(&mut linker, component.wasi()))
            .and_then(|()| link(&mut linker))
            .map_err(|why| invalid(&why))?;
        let pre = linker.instantiate_pre(component.loaded()).map_err(|why| invalid(&why))?;
        let indices = describe::GuestIndices::new(&pre).map_err(|why| invalid(&why))?;

        let cpu = CpuMeter::new(engine.epochs());
        let state = StoreState::new(component.name(), stage, pulse.clone(), &limits, cpu.clone());
        let mut store = Store::new(engine.inner(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_max_component_handles(MAX_HANDLES);
        store.set_hostcall_fuel(MAX_CALL_BYTES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| {
            context.data().spend().map_err(wasmtime::Error::new)?;
            Ok(UpdateDeadline::Yield(1))
        });

        let (watch, name) = (Watch::new(pulse.clone(), &limits), component.name().to_owned());
        let work = Arc::clone(component.work());
        pulse.owes();
        let started = async {
            let instance = pre.instantiate_async(&mut store).await?;
            let description = indices.load(&mut store, &instance)?.call_describe(&mut store).await?;
            Ok((instance, description))
        };
        let (instance, description) = watched(metered(&work, cpu.over(started)), &watch, kind, &name).await?;
        pulse.settled();
        check_description(&description, kind, &name)?;
        Ok(Self { store, instance, pre, kind, name, cpu, work, watch, description })
    }

    /// What the component says of itself.
    #[must_use]
    pub const fn description(&self) -> &describe::Description {
        &self.description
    }

    /// Loads an interface that the component exports.
    ///
    /// # Errors
    /// `component-invalid` if it does not export it.
    pub fn load<I, G>(
        &mut self,
        find: impl FnOnce(&InstancePre<StoreState<S>>) -> wasmtime::Result<I>,
        load: impl FnOnce(&I, &mut Store<StoreState<S>>, &Instance) -> wasmtime::Result<G>,
    ) -> Result<G> {
        find(&self.pre).and_then(|indices| load(&indices, &mut self.store, &self.instance)).map_err(|why| {
            let message = format!("`{}` does not fit the world of a {}: {why:#}", self.name, self.kind.as_str());
            Error::new(Code::ComponentInvalid, self.kind.stage(), message)
        })
    }

    /// Access to the store outside of a run.
    pub fn store(&mut self) -> &mut Store<StoreState<S>> {
        &mut self.store
    }

    /// Makes one plain call, under the same watch as [`Self::run`].
    ///
    /// # Errors
    /// As for [`Self::run`].
    pub async fn call<R>(
        &mut self,
        body: impl AsyncFnOnce(&mut Store<StoreState<S>>) -> wasmtime::Result<R>,
    ) -> Result<R> {
        let call = metered(&self.work, self.cpu.over(body(&mut self.store)));
        watched(call, &self.watch, self.kind, &self.name).await
    }

    /// Runs `body` within the store's event loop until it is done, the guest fails, or the guest does nothing for too long, or
    /// too little, although it is waited for.
    ///
    /// # Errors
    /// `component-trapped`, `component-budget`, `component-stalled`.
    pub async fn run<R>(
        mut self,
        body: impl AsyncFnOnce(&Accessor<StoreState<S>>) -> wasmtime::Result<R>,
    ) -> Result<R> {
        let run = async { self.store.run_concurrent(body).await? };
        watched(metered(&self.work, self.cpu.over(run)), &self.watch, self.kind, &self.name).await
    }
}

/// A guest's future, of which every poll is its work but for what it makes others do.
async fn metered<F: Future>(work: &Meter, run: F) -> F::Output {
    let mut run = pin!(run);
    std::future::poll_fn(|cx| work.working(|| run.as_mut().poll(cx))).await
}

/// A guest's future, with every way it can fail turned into an error of ours.
async fn watched<R>(
    run: impl Future<Output = wasmtime::Result<R>>,
    watch: &Watch,
    kind: Kind,
    name: &str,
) -> Result<R> {
    tokio::select! {
        ended = run => ended.map_err(|why| failed(&why, kind, name)),
        stalled = watch.stalled() => {
            let message = format!("the {} `{name}` {stalled}", kind.as_str());
            Err(Error::new(Code::ComponentStalled, kind.stage(), message))
        }
    }
}

fn failed(why: &wasmtime::Error, kind: Kind, name: &str) -> Error {
    let error = |code, words: String| Error::new(code, kind.stage(), format!("the {} `{name}` {words}", kind.as_str()));
    if let Some(spent) = why.downcast_ref::<BudgetSpent>() {
        return error(Code::ComponentBudget, format!("was stopped: {spent}"));
    }
    if let Some(spent) = why.downcast_ref::<MemorySpent>() {
        return error(Code::ComponentBudget, format!("was stopped: {spent}"));
    }
    if let Some(I32Exit(status)) = why.downcast_ref::<I32Exit>() {
        return error(Code::ComponentTrapped, format!("exited with status {status}, expected it to return"));
    }
    match why.downcast_ref::<Trap>() {
        Some(trap) => error(Code::ComponentTrapped, format!("trapped: {trap}")),
        // What wasmtime itself refuses: handles, bytes per call, tables, instances, a broken canonical ABI.
        None => error(Code::ComponentTrapped, format!("was stopped: {}", why.root_cause())),
    }
}

fn check_description(description: &describe::Description, kind: Kind, name: &str) -> Result<()> {
    let says = match description.declares {
        describe::Declaration::Source(_) => Kind::Source,
        describe::Declaration::Filter(_) => Kind::Filter,
        describe::Declaration::Probe(_) => Kind::Probe,
        describe::Declaration::Framing(_) => Kind::Framing,
        describe::Declaration::Compressor(_) => Kind::Compressor,
    };
    let contract = |words: String| Err(Error::new(Code::ComponentContract, kind.stage(), format!("`{name}` {words}")));
    if says != kind {
        return contract(format!("describes itself as a {}, expected a {}", says.as_str(), kind.as_str()));
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let named = &description.name;
    if named.is_empty() || named.len() > MAX_DESCRIPTION || !named.bytes().all(allowed) {
        return contract("describes itself with a name that is not 1 to 64 characters of a-z, 0-9 and -".to_owned());
    }
    let printable = description.version.bytes().all(|byte| byte.is_ascii_graphic());
    if description.version.is_empty() || description.version.len() > MAX_DESCRIPTION || !printable {
        return contract("describes itself with a version that is not 1 to 64 printable characters".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_exits_is_at_fault_whatever_the_status() {
        for status in [0, 3] {
            let error = failed(&wasmtime::Error::new(I32Exit(status)), Kind::Framing, "x");
            assert_eq!(error.code(), Code::ComponentTrapped);
            assert_eq!(
                error.to_string(),
                format!("the framing `x` exited with status {status}, expected it to return")
            );
        }
    }
}
