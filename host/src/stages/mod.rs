//! The stages: what a component exports, as a step of the host's flow.

mod alongside;
mod brought;
mod compressor;
mod crew;
mod failure;
mod fetch;
mod filter;
mod framing;
mod local;
mod probe;
mod request;
mod source;
mod stored;
mod summing;
mod through;
mod wasi_http;

pub use alongside::Alongside;
pub use brought::Brought;
pub use compressor::{Compressor, MAX_INSTANCES};
pub use filter::{Filtered, filter};
pub use framing::{Entry, FramedLayer, frame};
pub use local::LocalGrant;
pub use probe::{ContentSize, Hazard, Severity, Verdict, detect};
pub use request::FetchGrant;
pub use source::{Access, Disk, Facts, SourceGrant, open};
pub use stored::StoredImages;

/// What a component said of itself, for people.
#[derive(Clone, Debug)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it declares, as text: schemes, wrappers, formats, a media type, a suffix.
    pub declares: String,
}

impl Described {
    fn of(description: &crate::bindings::describe::Description) -> Self {
        use crate::bindings::describe::Declaration;
        let declares = match &description.declares {
            Declaration::Source(source) => source.schemes.join(", "),
            Declaration::Filter(filter) => filter.wrappers.join(", "),
            Declaration::Probe(probe) => probe.formats.join(", "),
            Declaration::Framing(framing) => framing.media_type.clone(),
            Declaration::Compressor(compressor) if compressor.concatenable => {
                format!("{}, concatenable", compressor.suffix)
            }
            Declaration::Compressor(compressor) => compressor.suffix.clone(),
        };
        Self { name: description.name.clone(), version: description.version.clone(), declares }
    }
}

/// Instantiates a component of any kind only to have it describe itself.
///
/// # Errors
/// As for any guest.
pub async fn describe(
    engine: &crate::engine::Engine,
    component: &crate::engine::Component,
) -> crate::error::Result<Described> {
    use crate::engine::Kind;
    Ok(match component.kind() {
        Kind::Source => source::instantiate(engine, component, SourceGrant::default()).await?.1,
        Kind::Filter => filter::instantiate(engine, component).await?.1,
        Kind::Probe => probe::instantiate(engine, component).await?.1,
        Kind::Framing => framing::instantiate(engine, component).await?.1,
        Kind::Compressor => compressor::instantiate(engine, component).await?.1,
    })
}
