//! A compressor component as the last step before the upload.

use std::num::NonZeroUsize;

use super::Described;
use super::crew;
use super::through::Through;
use crate::bindings::{compressor, describe};
use crate::engine::{Component, Engine, Guest, Kind};
use crate::error::{Code, Error, Result, Stage};
use crate::stream::{Failing, Flow, Pulse, beginning_with, counted, in_pieces, no_more_than};

/// The formats a layer's readers know (OCI image-spec, layer.md), and what every stream of theirs begins with: RFC 1952
/// §2.3.1, RFC 8878 §3.1.1.
const FORMATS: [(&str, &[u8]); 2] = [("gzip", &[0x1f, 0x8b]), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd])];

/// The most instances that compress one layer: one thread downloads, hashes and uploads, and more would wait for it. Each
/// holds up to two pieces and what the component itself needs.
pub const MAX_INSTANCES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

/// What a compressor may write more than twice what it has read. Stored blocks and headers add a few bytes in a thousand.
const MAX_MORE_BYTES: u64 = 64 << 10;

/// A compressor that is ready for its layer.
pub struct Compressor {
    engine: Engine,
    component: Component,
    instance: Instance,
    described: Described,
}

/// What a compressor declares.
#[derive(Clone, Copy)]
struct Format {
    suffix: &'static str,
    magic: &'static [u8],
    concatenable: bool,
}

/// One instance, which compresses once.
pub(super) struct Instance {
    guest: Guest<()>,
    interface: compressor::Guest,
    through: Through,
    format: Format,
}

pub(super) async fn instantiate(engine: &Engine, component: &Component) -> Result<(Guest<()>, Described, Pulse)> {
    let pulse = Pulse::default();
    let guest = Guest::new(engine, component, (), pulse.clone(), |_| Ok(())).await?;
    let described = Described::of(guest.description());
    Ok((guest, described, pulse))
}

impl Compressor {
    /// Instantiates `component`.
    ///
    /// # Errors
    /// As for any guest; `component-invalid` if it compresses to something that no reader of layers knows.
    pub async fn new(engine: &Engine, component: &Component) -> Result<Self> {
        let instance = Instance::new(engine, component).await?;
        let described = Described::of(instance.guest.description());
        Ok(Self { engine: engine.clone(), component: component.clone(), instance, described })
    }

    /// What the media type of the compressed layer ends in: `gzip` or `zstd`.
    #[must_use]
    pub const fn suffix(&self) -> &'static str {
        self.instance.format.suffix
    }

    /// What the component says of itself.
    #[must_use]
    pub const fn described(&self) -> &Described {
        &self.described
    }

    /// Compresses a layer. If the component's outputs may stand one behind the other, the layer is cut into pieces of
    /// [`PIECE_BYTES`](crate::stream::PIECE_BYTES), and at most `instances` (no more than [`MAX_INSTANCES`]) threads make
    /// a fresh instance for each piece: what one piece becomes cannot depend on another or on their number. Else this one
    /// instance compresses all of it. What the threads spend and wait is added to [`Component::work`].
    ///
    /// # Errors
    /// The component's, until it has an output; later ones are the flow's, as are those of `layer`, which go before.
    /// `internal` if there are no threads to be had.
    pub async fn compress(self, layer: Flow, instances: NonZeroUsize) -> Result<Flow> {
        let Self { engine, component, instance, .. } = self;
        if !instance.format.concatenable {
            return instance.compress(layer).await;
        }
        drop(instance);
        let instances = instances.min(MAX_INSTANCES);
        // One more than are worked on: nobody waits for a piece that is only being gathered.
        let (flow, pieces) = in_pieces(layer, instances.get().saturating_add(1));
        crew::start(instances, &pieces, &crew::Task::new(engine, &component))?;
        Ok(flow)
    }
}

impl Instance {
    /// A new instance of `component`.
    ///
    /// # Errors
    /// See [`Compressor::new`].
    pub(super) async fn new(engine: &Engine, component: &Component) -> Result<Self> {
        let (mut guest, _, pulse) = instantiate(engine, component).await?;
        let name = component.name().to_owned();
        let format = Format::declared(guest.description(), &name)?;
        let interface =
            guest.load(compressor::GuestIndices::new, |indices, store, instance| indices.load(store, instance))?;
        let through = Through { kind: Kind::Compressor, name, pulse, failing: Failing::AtOnce };
        Ok(Self { guest, interface, through, format })
    }

    /// Compresses all of `bytes`.
    ///
    /// # Errors
    /// See [`Compressor::compress`].
    pub(super) async fn compress(self, bytes: Flow) -> Result<Flow> {
        let Self { guest, interface, through, format: Format { suffix, magic, .. } } = self;
        let who = format!("the compressor `{}`", through.name);
        let broke = move |how: &str| Error::new(Code::ComponentContract, Stage::Compressor, format!("{who} {how}"));
        let (bytes, read) = counted(bytes);
        let (flow, ()) = through
            .carry(guest, bytes, async move |accessor, (bytes, outcome)| {
                let output = interface.call_compress(accessor, bytes, outcome).await?;
                Ok(output.map(|output| (output, ())))
            })
            .await?;
        let most = move || read.bytes().saturating_mul(2).saturating_add(MAX_MORE_BYTES);
        let flow = no_more_than(flow, most, {
            let broke = broke.clone();
            move |most| broke(&format!("wrote more than {most} bytes: twice what it has read and {MAX_MORE_BYTES}"))
        });
        Ok(beginning_with(flow, magic, move || broke(&format!("wrote something that does not begin as {suffix}"))))
    }
}

impl Format {
    fn declared(description: &describe::Description, name: &str) -> Result<Self> {
        let (declared, concatenable) = match &description.declares {
            describe::Declaration::Compressor(compressor) => (compressor.suffix.as_str(), compressor.concatenable),
            // The description was checked against the kind.
            _ => ("", false),
        };
        let Some((suffix, magic)) = FORMATS.into_iter().find(|(known, _)| *known == declared) else {
            let shown: String = declared.chars().filter(|c| !c.is_control()).take(64).collect();
            let known = FORMATS.map(|(known, _)| known).join(" or ");
            let message = format!("the compressor `{name}` declares the suffix `{shown}`, expected {known}");
            return Err(Error::new(Code::ComponentInvalid, Stage::Compressor, message)
                .hint("no reader of images knows layers of another format"));
        };
        Ok(Self { suffix, magic, concatenable })
    }
}
