//! A probe component as a verdict on the disk that flows past its window.

use wasmtime::component::{Access, FutureReader, HasData, Resource, ResourceTable};

use super::{Described, failure};
use crate::bindings::window::{self, Window};
use crate::bindings::{Failure, probe};
use crate::engine::{Component, Engine, Guest, Kind, StoreState, cleaned, host_future};
use crate::error::{Code, Error, Result, Stage};
use crate::stream::{self, MAX_RANGED_BYTES, Pulse, WindowError};

/// How grave a hazard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Works, with something lost or at risk.
    Warning,
    /// Refused by default.
    Refuse,
}

/// Something that whoever runs the disk must know.
#[derive(Clone, Debug)]
pub struct Hazard {
    /// A stable name.
    pub code: String,
    /// How grave it is.
    pub severity: Severity,
    /// One sentence.
    pub message: String,
}

/// What a wrapper says of the size of what is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentSize {
    /// Nothing.
    #[default]
    Unknown,
    /// Bytes, as a claim.
    Claimed(u64),
    /// Bytes: whoever unwraps all of it gets as many or fails.
    Exact(u64),
}

/// What a probe found.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The format.
    pub format: String,
    /// Bytes as a guest machine would see them.
    pub virtual_size: Option<u64>,
    /// What a wrapper says of what is in it.
    pub content_size: ContentSize,
    /// Hazards.
    pub hazards: Vec<Hazard>,
    /// Name and value.
    pub details: Vec<(String, String)>,
    /// What the component says of itself.
    pub described: Described,
}

/// The most hazards and the most details of a verdict.
const MAX_ENTRIES: usize = 64;
/// The longest name in a verdict.
const MAX_NAME: usize = 64;
/// The longest sentence in a verdict.
const MAX_SENTENCE: usize = 1024;

/// The store state of a probe.
#[derive(Default)]
pub(crate) struct ProbeState {
    windows: ResourceTable,
    expected_format: Option<String>,
}

impl ProbeState {
    /// The window behind a guest's handle.
    fn window(&self, disk: &Resource<Window>) -> wasmtime::Result<&stream::Window> {
        Ok(self.windows.get(&Resource::new_borrow(disk.rep()))?)
    }
}

struct ProbeView;

impl HasData for ProbeView {
    type Data<'a> = &'a mut StoreState<ProbeState>;
}

pub(super) async fn instantiate(
    engine: &Engine,
    component: &Component,
) -> Result<(Guest<ProbeState>, Described, Pulse)> {
    let pulse = Pulse::default();
    let guest = Guest::new(engine, component, ProbeState::default(), pulse.clone(), |linker| {
        window::add_to_linker::<_, ProbeView>(linker, |state| state)
    })
    .await?;
    let described = Described::of(guest.description());
    Ok((guest, described, pulse))
}

/// Has `component` look at a disk through `disk`, and lets the disk flow on when it has. It is told the format that the user
/// expects, to say at once that it is another.
///
/// # Errors
/// `disk-invalid` if the disk is malformed; the component's failure; `component-contract` if the verdict is out of bounds.
pub async fn detect(
    engine: &Engine,
    component: &Component,
    disk: &stream::Window,
    expected_format: Option<&str>,
) -> Result<Verdict> {
    let (mut guest, described, pulse) = instantiate(engine, component).await?;
    let interface = guest.load(probe::GuestIndices::new, |indices, store, instance| indices.load(store, instance))?;
    guest.store().data_mut().stage.expected_format = expected_format.map(str::to_owned);
    let resource = guest
        .store()
        .data_mut()
        .stage
        .windows
        .push(disk.clone())
        .map_err(|why| Error::internal(Stage::Probe, why.to_string()))?;
    pulse.owes();
    let lent = Resource::new_borrow(resource.rep());
    let ended = guest.run(async |accessor| interface.call_detect(accessor, lent).await).await;
    // A range that could not be read is the source's failure, whatever the probe made of it: it has not seen the disk.
    if let Some(error) = disk.take_error() {
        return Err(error);
    }
    let verdict = ended?.map_err(|why| failure::error(&why, Kind::Probe, component.name()))?;
    let verdict = convert(verdict, described).map_err(|words| {
        let message = format!("the probe `{}` gave a verdict with {words}", component.name());
        Error::new(Code::ComponentContract, Stage::Probe, message)
    })?;
    disk.release();
    Ok(verdict)
}

impl window::Host for StoreState<ProbeState> {}

impl window::HostWindow for StoreState<ProbeState> {
    fn size(&mut self, disk: Resource<Window>) -> wasmtime::Result<Option<u64>> {
        Ok(self.stage.window(&disk)?.size())
    }

    fn partial(&mut self, disk: Resource<Window>) -> wasmtime::Result<bool> {
        Ok(self.stage.window(&disk)?.is_partial())
    }

    fn expected_format(&mut self, _: Resource<Window>) -> wasmtime::Result<Option<String>> {
        Ok(self.stage.expected_format.clone())
    }

    fn drop(&mut self, disk: Resource<Window>) -> wasmtime::Result<()> {
        self.stage.windows.delete(Resource::<stream::Window>::new_own(disk.rep()))?;
        Ok(())
    }
}

impl window::HostWindowWithStore<StoreState<ProbeState>> for ProbeView {
    fn read_at(
        mut host: Access<StoreState<ProbeState>, Self>,
        disk: Resource<Window>,
        offset: u64,
        len: u32,
    ) -> wasmtime::Result<FutureReader<Result<Vec<u8>, Failure>>> {
        let state = host.get();
        let answer = state.stage.window(&disk)?.read_at(offset, len, state.pulse.helping());
        host_future(&mut host, async move { answer.await.map_err(refusal) })
    }

    fn read_tail(
        mut host: Access<StoreState<ProbeState>, Self>,
        disk: Resource<Window>,
        len: u32,
    ) -> wasmtime::Result<FutureReader<Result<Vec<u8>, Failure>>> {
        let state = host.get();
        let answer = state.stage.window(&disk)?.read_tail(len, state.pulse.helping());
        host_future(&mut host, async move { answer.await.map_err(refusal) })
    }
}

fn refusal(error: WindowError) -> Failure {
    match error {
        WindowError::Invalid(why) => Failure::Invalid(why.to_owned()),
        WindowError::Gone => Failure::Gone("the disk has flowed past that offset".to_owned()),
        WindowError::Unsupported(why) => Failure::Unsupported(why.to_owned()),
        WindowError::Limit => Failure::Limit(format!("more than {MAX_RANGED_BYTES} bytes were asked for by range")),
        WindowError::Io => Failure::Io("the disk could not be read there".to_owned()),
    }
}

fn convert(verdict: probe::Verdict, described: Described) -> Result<Verdict, String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let name = |text: String, what: &str| {
        let fits = !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(allowed);
        if fits { Ok(text) } else { Err(format!("{what} that is not 1 to {MAX_NAME} characters of a-z, 0-9 and -")) }
    };
    let sentence = |text: String| cleaned(&text, MAX_SENTENCE);
    if verdict.hazards.len() > MAX_ENTRIES || verdict.details.len() > MAX_ENTRIES {
        return Err(format!("more than {MAX_ENTRIES} hazards or details"));
    }
    let hazard = |hazard: probe::Hazard| {
        let severity = match hazard.severity {
            probe::Severity::Note => Severity::Note,
            probe::Severity::Warning => Severity::Warning,
            probe::Severity::Refuse => Severity::Refuse,
        };
        Ok(Hazard { code: name(hazard.code, "a hazard code")?, severity, message: sentence(hazard.message) })
    };
    Ok(Verdict {
        format: name(verdict.format, "a format")?,
        virtual_size: verdict.virtual_size,
        content_size: match verdict.content_size {
            probe::ContentSize::Unknown => ContentSize::Unknown,
            probe::ContentSize::Claimed(bytes) => ContentSize::Claimed(bytes),
            probe::ContentSize::Exact(bytes) => ContentSize::Exact(bytes),
        },
        hazards: verdict.hazards.into_iter().map(hazard).collect::<Result<_, String>>()?,
        details: verdict.details.into_iter().map(|(key, value)| (sentence(key), sentence(value))).collect(),
        described,
    })
}
