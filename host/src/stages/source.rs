//! A source component as a disk that can be read.

mod actor;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use wasmtime::component::Linker;

use super::fetch::SourceView;
use super::wasi_http::{self, WasiHttp};
use super::{Described, FetchGrant, LocalGrant};
use crate::bindings::{describe, fetch, local, source};
use crate::engine::{Component, Engine, Guest, Linking, StoreState, cleaned};
use crate::error::{Code, Error, Result, Stage};
use crate::stream::{Enclosure, Flow, Pulse, Ranges, Reading, exactly};
use actor::{Actor, Read};

/// What one source component was granted; by default nothing.
#[derive(Clone, Default)]
pub struct SourceGrant {
    /// The network, towards SOURCE.
    pub fetch: Option<FetchGrant>,
    /// The file or standard input that SOURCE names.
    pub local: Option<LocalGrant>,
}

/// The store state of a source.
pub(crate) struct SourceState {
    pub(super) grant: SourceGrant,
    pub(super) wasi_http: WasiHttp,
}

/// How a disk can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Once, from its start.
    Once,
    /// Any number of times, from its start.
    Restart,
    /// From any offset.
    Ranged,
}

/// What a source says of its disk.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The last segment of its location, as it stands there.
    pub name: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// What distinguishes this content from a later one.
    pub revision: Option<String>,
    /// When it was last modified, as an HTTP date.
    pub modified: Option<String>,
    /// How it can be read.
    pub access: Access,
    /// What it stands in, if the digest of that is known.
    pub enclosure: Option<Enclosure>,
}

/// An open disk. The component lives as long as this or a flow read from it.
pub struct Disk {
    facts: Facts,
    described: Described,
    reads: Reads,
}

/// The most schemes that a source may declare, and the most bytes of each that are shown.
const MAX_SCHEMES: (usize, usize) = (16, 32);
type Store = StoreState<SourceState>;
/// A location and the options to open it with.
type Location = (String, Vec<(String, String)>);

pub(super) async fn instantiate(
    engine: &Engine,
    component: &Component,
    grant: SourceGrant,
) -> Result<(Guest<SourceState>, Described, Pulse)> {
    let pulse = Pulse::default();
    let wasi_http = WasiHttp::new(grant.fetch.clone(), pulse.clone());
    let state = SourceState { grant, wasi_http };
    let link: Linking<SourceState> = match component.wants_wasi_http() {
        true => |linker| ours(linker).and_then(|()| wasi_http::link(linker)),
        false => ours,
    };
    let guest = Guest::new(engine, component, state, pulse.clone(), link).await?;
    let described = Described::of(guest.description());
    Ok((guest, described, pulse))
}

fn ours(linker: &mut Linker<Store>) -> wasmtime::Result<()> {
    fetch::add_to_linker::<_, SourceView>(linker, |state| state)?;
    local::add_to_linker::<_, SourceView>(linker, |state| state)
}

/// Opens a location with `component`, which is granted `grant` and must declare `scheme`. Runs in the current `LocalSet`.
///
/// # Errors
/// `usage` if it declares other schemes only; the component's failure, or, where the host itself saw why, the host's own
/// account of it.
pub async fn open(
    engine: &Engine,
    component: &Component,
    grant: SourceGrant,
    what: Location,
    scheme: &str,
) -> Result<Disk> {
    let (mut guest, described, pulse) = instantiate(engine, component, grant.clone()).await?;
    let interface = guest.load(source::GuestIndices::new, |indices, store, instance| indices.load(store, instance))?;
    declares(guest.description(), scheme, component.name())?;
    let (requests, receiver) = mpsc::channel(1);
    let (reply, opened) = oneshot::channel();
    let actor = Actor::new(component.name(), interface, grant, pulse, requests.downgrade());
    tokio::task::spawn_local(actor.live(guest, what, reply, receiver));
    let facts = opened.await.map_err(|_| Error::internal(Stage::Source, "the source's task ended"))??;
    let whose = format!("the source `{}`", component.name());
    let reads = Reads { requests, size: facts.size, whose };
    Ok(Disk { facts, described, reads })
}

/// Refuses a source that does not declare the scheme of the location.
fn declares(description: &describe::Description, scheme: &str, name: &str) -> Result<()> {
    let declared: &[String] = match &description.declares {
        describe::Declaration::Source(source) => &source.schemes,
        // The description was checked against the kind.
        _ => &[],
    };
    if declared.iter().any(|declared| declared == scheme) {
        return Ok(());
    }
    let (most, most_bytes) = MAX_SCHEMES;
    let shown: Vec<String> = declared.iter().take(most).map(|scheme| cleaned(scheme, most_bytes)).collect();
    let shown = if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") };
    let message = format!("the source `{name}` does not open `{scheme}` locations: it declares {shown}");
    Err(Error::new(Code::Usage, Stage::Plan, message))
}

impl Disk {
    /// What the component says of the disk.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What the component says of itself.
    #[must_use]
    pub const fn described(&self) -> &Described {
        &self.described
    }

    /// Reads `length` bytes from `offset`, or to the end. Where `access` is ranged, reads may overlap in time.
    ///
    /// # Errors
    /// As for [`open`]; failures on the way are the flow's, a length that is not the announced one among them.
    pub async fn read(&self, offset: u64, length: Option<u64>) -> Result<Flow> {
        self.reads.read(offset, length).await
    }

    /// The disk as something of which ranges can be read, while its flow is read too.
    #[must_use]
    pub fn ranges(&self) -> Arc<dyn Ranges> {
        Arc::new(self.reads.clone())
    }
}

/// The reads of a disk, and what each must bring.
#[derive(Clone)]
struct Reads {
    requests: mpsc::Sender<Read>,
    size: Option<u64>,
    whose: String,
}

impl Reads {
    async fn read(&self, offset: u64, length: Option<u64>) -> Result<Flow> {
        let ended = || Error::internal(Stage::Source, "the source's task ended");
        let (reply, flow) = oneshot::channel();
        self.requests.send(Read { offset, length, reply }).await.map_err(|_| ended())?;
        let flow = flow.await.map_err(|_| ended())??;
        Ok(match announced(self.size, offset, length) {
            Some(bytes) => {
                let whose = self.whose.clone();
                exactly(flow, bytes, move |got| {
                    let message = format!("{whose} sent {got} bytes, expected {bytes} as announced");
                    Error::new(Code::SourceLengthMismatch, Stage::Source, message)
                })
            }
            None => flow,
        })
    }
}

impl Ranges for Reads {
    fn read(&self, offset: u64, length: u64) -> Reading {
        let reads = self.clone();
        Box::pin(async move { Self::read(&reads, offset, Some(length)).await })
    }
}

/// How many bytes a read of a disk of that size must bring, if that is known.
fn announced(size: Option<u64>, offset: u64, length: Option<u64>) -> Option<u64> {
    // Without a size the end may come sooner than asked for.
    let left = size?.saturating_sub(offset);
    Some(length.map_or(left, |length| length.min(left)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_brings_what_is_left_of_the_disk_or_less() {
        assert_eq!(announced(Some(10), 0, None), Some(10));
        assert_eq!(announced(Some(10), 4, None), Some(6));
        assert_eq!(announced(Some(10), 4, Some(3)), Some(3));
        assert_eq!(announced(Some(10), 4, Some(30)), Some(6));
        assert_eq!(announced(Some(10), 40, Some(u64::MAX)), Some(0));
        assert_eq!(announced(None, 0, Some(3)), None);
    }
}
