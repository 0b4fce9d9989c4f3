//! A compressor component as the last step before the upload.

use super::Described;
use super::through::Through;
use crate::bindings::{compressor, describe};
use crate::engine::{Component, Engine, Guest, Kind};
use crate::error::{Code, Error, Result, Stage};
use crate::stream::{Flow, Pulse, beginning_with};

/// The formats a layer's readers know (OCI image-spec, layer.md), and what every stream of theirs begins with: RFC 1952
/// §2.3.1, RFC 8878 §3.1.1.
const FORMATS: [(&str, &[u8]); 2] = [("gzip", &[0x1f, 0x8b]), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd])];

/// A compressor that is ready for its layer.
pub struct Compressor {
    guest: Guest<()>,
    interface: compressor::Guest,
    through: Through,
    suffix: &'static str,
    magic: &'static [u8],
    described: Described,
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
        let (mut guest, described, pulse) = instantiate(engine, component).await?;
        let name = component.name().to_owned();
        let declared = match &guest.description().declares {
            describe::Declaration::Compressor(compressor) => compressor.suffix.as_str(),
            // The description was checked against the kind.
            _ => "",
        };
        let Some((suffix, magic)) = FORMATS.into_iter().find(|(known, _)| *known == declared) else {
            let shown: String = declared.chars().filter(|c| !c.is_control()).take(64).collect();
            let known = FORMATS.map(|(known, _)| known).join(" or ");
            let message = format!("the compressor `{name}` declares the suffix `{shown}`, expected {known}");
            return Err(Error::new(Code::ComponentInvalid, Stage::Compressor, message)
                .hint("no reader of images knows layers of another format"));
        };
        let interface =
            guest.load(compressor::GuestIndices::new, |indices, store, instance| indices.load(store, instance))?;
        let through = Through { kind: Kind::Compressor, name, pulse };
        Ok(Self { guest, interface, through, suffix, magic, described })
    }

    /// What the media type of the compressed layer ends in: `gzip` or `zstd`.
    #[must_use]
    pub const fn suffix(&self) -> &'static str {
        self.suffix
    }

    /// What the component says of itself.
    #[must_use]
    pub const fn described(&self) -> &Described {
        &self.described
    }

    /// Compresses a layer.
    ///
    /// # Errors
    /// The component's, until it has an output; later ones are the flow's, as are those of `layer`, which go before.
    pub async fn compress(self, layer: Flow) -> Result<Flow> {
        let Self { guest, interface, through, suffix, magic, .. } = self;
        let message = format!("the compressor `{}` wrote something that does not begin as {suffix}", through.name);
        let otherwise = move || Error::new(Code::ComponentContract, Stage::Compressor, message.clone());
        let (flow, ()) = through
            .carry(guest, layer, async move |accessor, (bytes, outcome)| {
                let output = interface.call_compress(accessor, bytes, outcome).await?;
                Ok(output.map(|output| (output, ())))
            })
            .await?;
        Ok(beginning_with(flow, magic, otherwise))
    }
}
