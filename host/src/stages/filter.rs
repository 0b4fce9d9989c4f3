//! A filter component as a step between the source and the disk.

use super::Described;
use super::through::Through;
use crate::bindings::filter::{self, OutputSize};
use crate::engine::{Component, Engine, Guest, Kind, cleaned};
use crate::error::{Code, Error, Result, Stage};
use crate::stream::{Failing, Flow, Pulse, exactly};

/// What comes out of a filter.
pub struct Filtered {
    /// The bytes. If their length was announced, they have it or the flow fails.
    pub flow: Flow,
    /// How many there are, if the filter knows.
    pub size: Option<u64>,
    /// Whether that follows from the format, and is no mere claim.
    pub exact: bool,
    /// The name of what comes out, as the filter gives it.
    pub name: Option<String>,
    /// What the component says of itself.
    pub described: Described,
}

/// The longest name that is kept; the rest is cut.
const MAX_NAME: usize = 1024;

pub(super) async fn instantiate(engine: &Engine, component: &Component) -> Result<(Guest<()>, Described, Pulse)> {
    let pulse = Pulse::default();
    let guest = Guest::new(engine, component, (), pulse.clone(), |_| Ok(())).await?;
    let described = Described::of(guest.description());
    Ok((guest, described, pulse))
}

/// Lets `input`, whose length and name are given as far as they are known, flow through `component`. `failing` says when it
/// counts that the component fails.
///
/// # Errors
/// The component's, until it has an output; later ones are the flow's, as are those of `input`, which go before.
pub async fn filter(
    engine: &Engine,
    component: &Component,
    input: Flow,
    size: Option<u64>,
    name: Option<String>,
    failing: Failing,
) -> Result<Filtered> {
    let (mut guest, described, pulse) = instantiate(engine, component).await?;
    let interface = guest.load(filter::GuestIndices::new, |indices, store, instance| indices.load(store, instance))?;
    let through = Through { kind: Kind::Filter, name: component.name().to_owned(), pulse, failing };
    let (flow, (name, size)) = through
        .carry(guest, input, async move |accessor, (bytes, outcome)| {
            let output = interface.call_run(accessor, bytes, outcome, size, name).await?;
            Ok(output.map(|output| ((output.bytes, output.outcome), (output.name, output.size))))
        })
        .await?;
    let exact = matches!(size, OutputSize::Exact(_));
    let size = match size {
        OutputSize::Unknown => None,
        OutputSize::Claimed(size) | OutputSize::Exact(size) => Some(size),
    };
    let flow = match size {
        Some(size) => {
            let who = component.name().to_owned();
            exactly(flow, size, move |got| {
                let message = format!("the filter `{who}` wrote {got} bytes, expected {size} as it announced");
                Error::new(Code::DiskLengthMismatch, Stage::Filter, message)
            })
        }
        None => flow,
    };
    Ok(Filtered { flow, size, exact, name: name.map(|name| cleaned(&name, MAX_NAME)), described })
}
