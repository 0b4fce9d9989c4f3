//! A framing component as a layer of known length.

use super::{Described, failure};
use crate::bindings::framing;
use crate::bindings::longshore::stage::types::Owner;
use crate::engine::{Component, Engine, Guest, Kind};
use crate::error::{Code, Error, Result, Stage};
use crate::stream::{Layer, Pulse, Segment};

/// What is framed.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name of the one file.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// User and group id.
    pub owner: (u32, u32),
}

/// A layer before its first byte, and who framed it.
#[derive(Debug)]
pub struct FramedLayer {
    /// The media type.
    pub media_type: String,
    /// The segments, checked.
    pub layer: Layer,
    /// What the component says of itself.
    pub described: Described,
}

/// Media types of layers that are understood today, as the digest is also the diffID.
const MEDIA_TYPES: [&str; 1] = [crate::oci::LAYER_TAR];

pub(super) async fn instantiate(engine: &Engine, component: &Component) -> Result<(Guest<()>, Described, Pulse)> {
    let pulse = Pulse::default();
    let guest = Guest::new(engine, component, (), pulse.clone(), |_| Ok(())).await?;
    let described = Described::of(guest.description());
    Ok((guest, described, pulse))
}

/// Has `component` frame `entry`.
///
/// # Errors
/// The component's failure, or `component-contract` if the layer is out of bounds.
pub async fn frame(engine: &Engine, component: &Component, entry: &Entry) -> Result<FramedLayer> {
    let (mut guest, described, pulse) = instantiate(engine, component).await?;
    let interface = guest.load(framing::GuestIndices::new, |indices, store, instance| indices.load(store, instance))?;
    let (uid, gid) = entry.owner;
    let wanted = framing::Entry { name: entry.name.clone(), size: entry.size, owner: Owner { uid, gid } };
    pulse.owes();
    let framed = guest
        .call(async |store| interface.call_frame(store, &wanted).await)
        .await?
        .map_err(|why| failure::error(&why, Kind::Framing, component.name()))?;
    let contract = |words: String| {
        Error::new(Code::ComponentContract, Stage::Framing, format!("the framing `{}` made {words}", component.name()))
    };
    if !MEDIA_TYPES.contains(&framed.media_type.as_str()) {
        let shown: String = framed.media_type.chars().filter(|c| !c.is_control()).take(100).collect();
        return Err(contract(format!("a layer of media type `{shown}`, expected {}", MEDIA_TYPES.join(" or "))));
    }
    let segments = framed.segments.into_iter().map(convert).collect();
    let layer = Layer::new(segments, entry.size).map_err(|words| contract(format!("a layer of {words}")))?;
    Ok(FramedLayer { media_type: framed.media_type, layer, described })
}

fn convert(segment: framing::Segment) -> Segment {
    match segment {
        framing::Segment::Literal(bytes) => Segment::Literal(bytes.into()),
        framing::Segment::Zeros(count) => Segment::Zeros(count),
        framing::Segment::Payload => Segment::Payload,
    }
}
