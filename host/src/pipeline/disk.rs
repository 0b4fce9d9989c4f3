//! The disk before its first byte: what the source gives, behind the filters, with a name and a length.

use std::sync::Arc;
use std::time::Instant;

use super::checkpoint::Course;
use super::checksum::{Demanded, demanded};
use super::components::may_be_told;
use super::destination::registry_at;
use super::filtering::{Filtered, filtered};
use super::import::Run;
use super::interrupt::Interrupted;
use super::naming::{announced_name, disk_name};
use super::reading::{Reading, whole_again};
use super::{Checksum, Input, Place, Plan, Source, SourceRegistry};
use crate::engine::{Component, Engine};
use crate::error::{Code, Error, Result, Stage};
use crate::net::{GrantedClient, Net};
use crate::observe::Repeats;
use crate::policy::Side;
use crate::registry::Reader;
use crate::stages::{self, Access, Alongside, Entry, Facts, FetchGrant, LocalGrant, SourceGrant, StoredImages};
use crate::stream::{Attempts, Flow, Ranges, Resumable, Seek, Spool, Spooled, no_more_than};

/// The largest disk: it still has to fit into a layer, whose length has 63 bits. Nobody has one of an exbibyte.
const MAX_DISK: u64 = 1 << 60;
/// How often a source is opened in a row at most.
const MOST_OPENINGS: u32 = 3;

/// A disk that is about to flow.
pub(super) struct Disk {
    /// Its bytes.
    pub(super) flow: Flow,
    /// Its name, length and owner.
    pub(super) entry: Entry,
    /// Checksums over the bytes as received, in front of the filters.
    pub(super) received: Demanded,
    /// Checksums over the disk, behind them.
    pub(super) of_disk: Demanded,
    /// Whether what flows could also be read elsewhere than where it flows.
    pub(super) seek: Seek,
    /// What flows, once more from any offset at the price of all that is in front of it, if the source has no ranges.
    pub(super) rewound: Option<Arc<dyn Ranges>>,
    /// All of it that has come, if it is kept.
    pub(super) spooled: Option<Spooled>,
}

/// Opens SOURCE with the component that was chosen for it, and once more if it only may not have been the moment for it.
pub(super) async fn open_source(
    input: &Input,
    engine: &Engine,
    component: &Component,
    net: &Net,
    told: (&Interrupted, &Arc<Repeats>),
) -> Result<stages::Disk> {
    open_with(input, &[], engine, component, net, told).await
}

/// The same, where the component is told something besides what the user has it told.
pub(super) async fn open_with(
    input: &Input,
    own: &[(&str, &str)],
    engine: &Engine,
    component: &Component,
    net: &Net,
    told: (&Interrupted, &Arc<Repeats>),
) -> Result<stages::Disk> {
    open_along(input, (own, &Alongside::default()), engine, component, net, told).await
}

/// The same, where it reads along what the host reads itself.
pub(super) async fn open_along(
    input: &Input,
    (own, alongside): (&[(&str, &str)], &Alongside),
    engine: &Engine,
    component: &Component,
    net: &Net,
    (interrupted, repeats): (&Interrupted, &Arc<Repeats>),
) -> Result<stages::Disk> {
    for (key, _) in &input.options {
        may_be_told(component.name(), component.grant(), key)?;
    }
    let own = own.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let options: Vec<_> = input.options.iter().cloned().chain(own).collect();
    let grant = match (&input.source, &input.layout) {
        (_, Some(layout)) => {
            let images = StoredImages::new(layout.clone());
            SourceGrant { fetch: Some(FetchGrant::stored(images).reading(alongside.clone())), local: None }
        }
        (Source::Http(_) | Source::Other(_), None) => {
            let origin = input.source.origin(&net.policy().egress)?;
            let client = net.client(Side::Source, origin.iter().cloned().collect());
            let granted = GrantedClient::new(client, origin.clone()).presenting(input.fields.clone(), origin.clone());
            let granted = match &input.registry {
                Some(SourceRegistry { repository, credentials }) => {
                    let (_, at) = registry_at(repository, Side::Source, net.policy())?;
                    granted.answering(Arc::new(Reader::new(&at, repository, credentials.clone())), origin)
                }
                None => granted,
            };
            let granted = granted.within(Arc::clone(component.grant()));
            let granted = FetchGrant::new(granted).reading(alongside.clone()).telling(Arc::clone(repeats));
            SourceGrant { fetch: Some(granted), local: None }
        }
        (Source::File(path), None) => SourceGrant { fetch: None, local: Some(LocalGrant::file(path)?) },
        (Source::StandardInput, None) => {
            SourceGrant { fetch: None, local: Some(LocalGrant::standard_input(input.size)) }
        }
        (Source::Upload(brought), None) => {
            SourceGrant { fetch: None, local: Some(LocalGrant::brought(brought.clone(), input.size)) }
        }
    };
    let scheme = input.source.scheme();
    let attempts = attempts(input, net);
    // A server that never answered may not be one: who mistyped its name is not to wait for long.
    let attempts = Attempts { most: attempts.most.min(MOST_OPENINGS), ..attempts };
    let open = async {
        let (mut failures, mut since) = (0_u32, None);
        loop {
            let what = (input.source.location(), options.clone());
            let error = match stages::open(engine, component, grant.clone(), what, scheme).await {
                Ok(disk) => return Ok(disk),
                Err(error) => error,
            };
            failures = failures.saturating_add(1);
            let told = error.to_string();
            let failing = since.get_or_insert_with(Instant::now).elapsed();
            let pause = attempts.again(failures, failing, error)?;
            let seconds = pause.as_secs_f64();
            repeats.broke(format!("{told}: asking again in {seconds:.1} s"));
            tokio::time::sleep(pause).await;
        }
    };
    interrupted.or(open).await
}

/// How often SOURCE is asked for what broke off. A file or device that cannot be read is not asked again.
pub(super) fn attempts(input: &Input, net: &Net) -> Attempts {
    let limits = &net.policy().limits;
    let most = match &input.source {
        Source::Http(_) | Source::Other(_) => limits.source_attempts,
        Source::File(_) | Source::StandardInput | Source::Upload(_) => 1,
    };
    Attempts { most, back_off: limits.source_back_off, total: limits.total }
}

/// Reads SOURCE through the filters, from where `course` says. Its length must be known before the upload opens.
pub(super) async fn open_disk(
    run: &Run<'_>,
    source: &stages::Disk,
    checksums: &[Checksum],
    course: &Course,
) -> Result<Disk> {
    open_disk_in(run, source, checksums, course, InItsLayer::Verified).await
}

/// Who looks whether what a disk stands in has its digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum InItsLayer {
    /// The flow, at its end.
    Verified,
    /// Whoever sends all of that.
    AsItIsSent,
    /// The source, which reads along what the host reads, no faster than the user wants, and sends.
    BroughtAlong,
}

/// The same, where the layer that it stands in may be what is sent.
pub(super) async fn open_disk_in(
    run: &Run<'_>,
    source: &stages::Disk,
    checksums: &[Checksum],
    course: &Course,
    layer: InItsLayer,
) -> Result<Disk> {
    let (plan, facts) = (run.plan, source.facts());
    let name = named(plan, facts);
    let reading = match layer {
        InItsLayer::BroughtAlong => Reading { limit: None, ..run.reading() },
        InItsLayer::Verified | InItsLayer::AsItIsSent => run.reading(),
    };
    let resumable = reading.resumable(source);
    let received = async || {
        let flow = reading.received(source, course.disk_from).await?;
        let flow = match layer {
            InItsLayer::Verified => reading.within_its_layer(flow, source.facts()),
            InItsLayer::AsItIsSent | InItsLayer::BroughtAlong => flow,
        };
        demanded(flow, checksums, Place::Received, &course.received, &run.progress.checksums)
    };
    let mut rewound = None;
    let (disk, received) = if plan.chosen.filters.are_none() {
        rewound = whole_again(facts).map(|size| Arc::new(resumable.rewound(size, plan.limit)) as Arc<dyn Ranges>);
        // Before a byte is asked for: what cannot be pushed is not read.
        let size = announced(plan, facts)?.map(|entry| entry.size);
        let (flow, received) = received().await?;
        (Filtered { flow, size, name, last: None }, received)
    } else {
        let (flow, received) = received().await?;
        (filtered(run, flow, facts.size, name).await?, received)
    };
    let Filtered { flow, size, name, last } = disk;
    let (last, seek) = match &last {
        None => (None, seek(source.facts(), &resumable)),
        Some(last) => (Some(last.as_str()), Seek::InOrder),
    };
    size.map_or(Ok(()), |size| run.wanted().size(size))?;
    let (flow, of_disk) = demanded(flow, checksums, Place::Disk, &course.disk, &run.progress.checksums)?;
    let Some(spool) = spool(plan, size)? else {
        let entry = entry(plan, size, name.as_deref(), last)?;
        return Ok(Disk { flow, entry, received, of_disk, seek, rewound, spooled: None });
    };
    run.ledger.spools();
    let spooled = spool.take(flow, Arc::clone(&run.progress.spool));
    let size = match size {
        Some(size) => size,
        None => spooled.whole().await?,
    };
    run.wanted().size(size)?;
    let entry = entry(plan, agreed(Some(size), None, last)?, name.as_deref(), last)?;
    Ok(Disk { flow: spooled.flow(), entry, received, of_disk, seek, rewound: None, spooled: Some(spooled) })
}

/// The spool that the user wants for a disk of that size. Without a size, it finds out.
fn spool(plan: &Plan, size: Option<u64>) -> Result<Option<Spool>> {
    let Some((folder, most)) = &plan.spool else { return Ok(None) };
    let spool = Spool::create(folder, *most)?;
    size.map_or(Ok(()), |size| spool.has_room_for(size))?;
    Ok(Some(spool))
}

/// What will stand in the layer of a disk that flows as it comes from its source; none if its length will only be known
/// once it is spooled.
pub(super) fn announced(plan: &Plan, facts: &Facts) -> Result<Option<Entry>> {
    let size = known_size(&plan.input, facts)?;
    size.map_or(Ok(()), |size| plan.wanted().size(size))?;
    match (spool(plan, size)?, size) {
        (Some(_), None) => Ok(None),
        _ => entry(plan, size, named(plan, facts).as_deref(), None).map(Some),
    }
}

/// Whether the disk's length is known before it flows; else all of it goes into the spool first.
pub(super) fn is_announced(run: &Run<'_>, facts: &Facts) -> bool {
    let whole_first = run.plan.spool.is_some() && run.plan.disk_size.is_none();
    !whole_first || (run.plan.chosen.filters.are_none() && facts.size.is_some())
}

/// The name that the source has for it.
fn named(plan: &Plan, facts: &Facts) -> Option<String> {
    facts.name.as_deref().map(|name| announced_name(name, &plan.input.source))
}

/// No more than the policy grants the component that puts it out.
pub(super) fn within_output(component: &Component, flow: Flow) -> Flow {
    let Some((most, rule)) = component.grant().output() else { return flow };
    let (kind, name) = (component.kind(), component.name().to_owned());
    no_more_than(
        flow,
        move || most,
        move |_| {
            let message = format!(
                "the {} `{name}` put out more than the {most} bytes that the policy's {rule} grants",
                kind.as_str()
            );
            Error::new(Code::ComponentBudget, kind.stage(), message)
        },
    )
}

/// What will stand in the layer. `filter` is the last filter's name, if there is one.
pub(super) fn entry(plan: &Plan, size: Option<u64>, name: Option<&str>, filter: Option<&str>) -> Result<Entry> {
    let size = size.ok_or_else(|| {
        let (stage, message) = match filter {
            None => (Stage::Source, format!("{} does not say how long it is", plan.input.shown())),
            Some(_) => (Stage::Filter, format!("{} does not say how long the disk is", announcer(filter))),
        };
        Error::new(Code::SourceLengthUnknown, stage, message)
            .hint("if you know the length, name it: --size BYTES; else --spool DIR --spool-max SIZE finds it out")
    })?;
    Ok(Entry { name: disk_name(plan.name.as_deref(), name)?, size, owner: plan.image.owner })
}

/// The size of the disk as the source and the user have it, who must not contradict each other.
pub(super) fn known_size(input: &Input, facts: &Facts) -> Result<Option<u64>> {
    agreed(facts.size, input.size, None)
}

/// The size as the source, or the last filter, and the user have it.
pub(super) fn agreed(announced: Option<u64>, demanded: Option<u64>, filter: Option<&str>) -> Result<Option<u64>> {
    let (stage, mismatch) = match filter {
        None => (Stage::Source, Code::SourceLengthMismatch),
        Some(_) => (Stage::Filter, Code::DiskLengthMismatch),
    };
    match (announced, demanded) {
        (Some(announced), Some(demanded)) if announced != demanded => {
            let who = announcer(filter);
            let message = format!("{who} announces {announced} bytes, expected {demanded} as --size says");
            Err(Error::new(mismatch, stage, message))
        }
        (Some(size), _) if size > MAX_DISK => {
            let code = if filter.is_none() { Code::SourceInvalid } else { mismatch };
            let message = format!("{} announces {size} bytes, expected at most {MAX_DISK}", announcer(filter));
            Err(Error::new(code, stage, message))
        }
        (None, Some(size)) if size > MAX_DISK => {
            let message = format!("--size is {size} bytes, expected at most {MAX_DISK}");
            Err(Error::new(Code::Usage, Stage::Plan, message))
        }
        (announced, demanded) => Ok(announced.or(demanded)),
    }
}

fn announcer(filter: Option<&str>) -> String {
    filter.map_or_else(|| "the source".to_owned(), |filter| format!("the filter `{filter}`"))
}

/// How a disk that flows as it comes from its source can be read besides.
fn seek(facts: &Facts, resumable: &Resumable) -> Seek {
    match facts.access {
        Access::Ranged => Seek::Ranged(Arc::new(resumable.clone())),
        Access::Once | Access::Restart => Seek::InOrder,
    }
}
