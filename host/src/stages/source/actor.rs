//! The task that owns a source's store: it opens the disk, serves its reads side by side, and tells everybody who waits what
//! became of the guest.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use wasmtime::component::{Accessor, FutureReader, ResourceAny, StreamReader};

use super::super::request::Caller;
use super::super::{FetchGrant, LocalGrant, failure};
use super::{Access, Facts, Location, SourceGrant, SourceState, Store};
use crate::bindings::{Failure, source};
use crate::engine::{Guest, HostStream, Kind, LINGER, bytes_into, outcome_into};
use crate::error::{Code, Error, Result, Stage};
use crate::stream::{Chunks, Enclosure, Flow, MAX_CONNECTIONS, OutcomeSetter, Pulse, outcome, pipe};

/// The longest revision that is kept.
const MAX_REVISION: usize = 1024;
/// The most bytes of what a disk stands in, on either side of it.
const MAX_AROUND: usize = 1 << 20;
/// The most reads of one disk that may be under way: its flow over as many connections as there may be, what a probe asks
/// for beside it, and what was given up but has yet to end.
const MAX_READS: usize = MAX_CONNECTIONS as usize + 8;

/// One read that somebody waits for.
pub(super) struct Read {
    pub(super) offset: u64,
    pub(super) length: Option<u64>,
    pub(super) reply: oneshot::Sender<Result<Flow>>,
}

/// The task that owns a source's store.
pub(super) struct Actor {
    name: String,
    interface: source::Guest,
    grant: SourceGrant,
    pulse: Pulse,
    keep: mpsc::WeakSender<Read>,
    waiters: Rc<Waiters>,
    /// Whether none of the guest's tasks is left.
    quiet: watch::Sender<bool>,
}

/// Who is to be told when the guest fails.
enum Waiting {
    Open(oneshot::Sender<Result<Facts>>),
    Read(oneshot::Sender<Result<Flow>>),
    Flow(OutcomeSetter),
}

impl Waiting {
    fn fail(self, error: Error) {
        // Whoever waited may have given up; then nobody needs to know.
        match self {
            Self::Open(reply) => drop(reply.send(Err(error))),
            Self::Read(reply) => drop(reply.send(Err(error))),
            Self::Flow(outcome) => outcome.set(Err(error)),
        }
    }
}

/// Everybody who waits for the guest, by a number of their own.
#[derive(Default)]
struct Waiters(RefCell<BTreeMap<u64, Waiting>>);

impl Waiters {
    fn enter(&self, waiting: Waiting) -> u64 {
        let mut all = self.0.borrow_mut();
        let number = all.last_key_value().map_or(0, |(last, _)| last + 1);
        all.insert(number, waiting);
        number
    }

    fn replace(&self, number: u64, waiting: Waiting) -> Option<Waiting> {
        self.0.borrow_mut().insert(number, waiting)
    }

    fn take(&self, number: u64) -> Option<Waiting> {
        self.0.borrow_mut().remove(&number)
    }

    fn fail(&self, number: u64, error: Error) {
        if let Some(waiting) = self.take(number) {
            waiting.fail(error);
        }
    }

    /// The guest is no more: whoever waits hears the same.
    fn fail_all(&self, error: &Error) {
        for waiting in std::mem::take(&mut *self.0.borrow_mut()).into_values() {
            waiting.fail(Error::new(error.code(), error.stage(), error.to_string()));
        }
    }
}

type Body = (StreamReader<u8>, FutureReader<Result<(), Failure>>);

impl Actor {
    pub(super) fn new(
        name: &str,
        interface: source::Guest,
        grant: SourceGrant,
        pulse: Pulse,
        keep: mpsc::WeakSender<Read>,
    ) -> Self {
        let (waiters, quiet) = (Rc::default(), watch::Sender::new(false));
        Self { name: name.to_owned(), interface, grant, pulse, keep, waiters, quiet }
    }

    /// Opens the location and serves reads until nobody can ask for one, or the guest fails.
    pub(super) async fn live(
        self,
        guest: Guest<SourceState>,
        what: Location,
        reply: oneshot::Sender<Result<Facts>>,
        mut requests: mpsc::Receiver<Read>,
    ) {
        let waiters = Rc::clone(&self.waiters);
        let opener = waiters.enter(Waiting::Open(reply));
        let ended = guest
            .run(async |accessor: &Accessor<Store>| {
                let Some(disk) = self.open(accessor, what, opener).await? else { return Ok(()) };
                self.serve(accessor, disk, &mut requests).await
            })
            .await;
        if let Err(error) = ended {
            waiters.fail_all(&error);
        }
    }

    /// Serves reads side by side until nobody can ask for one any more.
    async fn serve(
        &self,
        accessor: &Accessor<Store>,
        disk: ResourceAny,
        requests: &mut mpsc::Receiver<Read>,
    ) -> wasmtime::Result<()> {
        let mut under_way = FuturesUnordered::new();
        loop {
            // Here and nowhere else: a store wakes only the last who asked. Asked after the reads: one may have begun.
            let quiet = poll_fn(|cx| match *self.quiet.borrow() {
                true => Poll::Pending,
                false => accessor.poll_no_interesting_tasks(cx),
            });
            tokio::select! {
                biased;
                read = requests.recv(), if under_way.len() < MAX_READS => match read {
                    Some(read) => under_way.push(self.read(accessor, disk, read)),
                    None => return Ok(()),
                },
                Some(ended) = under_way.next() => ended?,
                () = quiet => drop(self.quiet.send_replace(true)),
            }
        }
    }

    async fn open(
        &self,
        accessor: &Accessor<Store>,
        (location, options): Location,
        opener: u64,
    ) -> wasmtime::Result<Option<ResourceAny>> {
        if let Some(fetch) = &self.grant.fetch {
            fetch.begin();
        }
        self.begin(&self.pulse);
        let opened = self.interface.call_open(accessor, location, options).await?;
        let disk = match opened {
            Ok(disk) => disk,
            Err(failure) => {
                self.pulse.settled();
                self.waiters.fail(opener, self.error(&failure, None));
                return Ok(None);
            }
        };
        let facts = self.interface.disk().func_facts().call_concurrent(accessor, (disk,)).await?.0;
        self.pulse.settled();
        if let Some(Waiting::Open(reply)) = self.waiters.take(opener) {
            let _ = reply.send(self.known(facts));
        }
        Ok(Some(disk))
    }

    async fn read(&self, accessor: &Accessor<Store>, disk: ResourceAny, read: Read) -> wasmtime::Result<()> {
        if read.reply.is_closed() {
            return Ok(());
        }
        // What one read owes is not settled by what another delivers.
        let pulse = self.pulse.beside();
        self.begin(&pulse);
        let reader = self.waiters.enter(Waiting::Read(read.reply));
        let read_of = self.interface.disk().func_read();
        let arguments = (disk, read.offset, read.length);
        let call = accessor.with(|store| read_of.start_call_concurrent(store, arguments))?;
        let caller = self.grant.fetch.as_ref().map(|fetch| fetch.begin_read(call.task()));
        let (body,) = read_of.finish_call_concurrent(accessor, call).await?;
        pulse.settled();
        match body {
            Err(failure) => {
                self.waiters.fail(reader, self.error(&failure, caller.as_ref()));
                Ok(())
            }
            Ok(body) => self.carry(accessor, body, (reader, caller), pulse).await,
        }
    }

    /// Hands a flow to whoever asked, and stays until its outcome is known.
    async fn carry(
        &self,
        accessor: &Accessor<Store>,
        (stream, future): Body,
        (reader, caller): (u64, Option<Caller>),
        pulse: Pulse,
    ) -> wasmtime::Result<()> {
        let (setter, settled) = outcome(Stage::Source, &format!("the source `{}`", self.name));
        let guests_outcome = outcome_into(accessor, future)?;
        let keep = self.keep.upgrade();
        let (flow, end) = match accessor.with(|access| stream.try_into::<HostStream>(access)) {
            // The host's own stream: no byte of it enters the component.
            Ok(stream) => (Flow::new(Kept { chunks: stream, _keep: keep }, settled, Some(LINGER)), None),
            Err(stream) => {
                let (writer, chunks) = pipe(pulse);
                let end = bytes_into(accessor, stream, writer)?;
                (Flow::new(Kept { chunks, _keep: keep }, settled, None), Some(end))
            }
        };
        match self.waiters.replace(reader, Waiting::Flow(setter)) {
            Some(Waiting::Read(reply)) => drop(reply.send(Ok(flow))),
            _ => return Ok(()),
        }
        let guest_writes = end.is_some();
        let known = async {
            match guests_outcome.await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => return Err(self.error(&failure, caller.as_ref())),
                Err(_) => return Err(self.broke("dropped the outcome of its stream")),
            }
            if let Some(end) = end {
                let _ = end.await;
            }
            Ok(())
        };
        let lingered = async {
            if !guest_writes {
                return std::future::pending().await;
            }
            let mut quiet = self.quiet.subscribe();
            loop {
                if quiet.wait_for(|quiet| *quiet).await.is_err() {
                    return std::future::pending().await;
                }
                tokio::time::sleep(LINGER).await;
                if *quiet.borrow() {
                    return;
                }
            }
        };
        let value = tokio::select! {
            biased;
            value = known => value,
            () = lingered => Err(self.broke("ended but left its output open")),
        };
        if let Some(Waiting::Flow(setter)) = self.waiters.take(reader) {
            setter.set(value);
        }
        Ok(())
    }

    /// The facts as the host takes them.
    fn known(&self, facts: source::Facts) -> Result<Facts> {
        let mut facts = convert(facts).map_err(|how| self.broke(&how))?;
        if self.grant.local.as_ref().is_some_and(LocalGrant::is_device) {
            // A device's path says where the disk is attached, not what it is.
            facts.name = None;
        }
        Ok(facts)
    }

    fn begin(&self, pulse: &Pulse) {
        self.quiet.send_replace(false);
        pulse.owes();
    }

    /// What a failure of `caller` means, or of `open` without one.
    fn error(&self, failure: &Failure, caller: Option<&Caller>) -> Error {
        let seen = match caller {
            Some(caller) => caller.take_error(failure),
            None => self.grant.fetch.as_ref().and_then(FetchGrant::take_error),
        };
        match seen {
            Some(error) if error.code() == Code::ComponentBudget => {
                let message = format!("the source `{}` was stopped: {error}", self.name);
                Error::new(Code::ComponentBudget, Stage::Source, message)
            }
            Some(error) => {
                let words = failure::words(failure);
                // A component that only passes the host's account on adds nothing to it.
                if words == error.to_string() { error } else { error.context(format!("{}: {words}", self.name)) }
            }
            None => failure::error(failure, Kind::Source, &self.name),
        }
    }

    fn broke(&self, how: &str) -> Error {
        Error::new(Code::ComponentContract, Stage::Source, format!("the source `{}` {how}", self.name))
    }
}

/// Keeps the source's task alive as long as its bytes are read.
struct Kept<C> {
    chunks: C,
    _keep: Option<mpsc::Sender<Read>>,
}

impl<C: Chunks> Chunks for Kept<C> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.chunks.poll_chunk(cx)
    }
}

/// The facts, or how they break the contract.
fn convert(facts: source::Facts) -> Result<Facts, String> {
    let cut = |text: String| text.get(..text.floor_char_boundary(MAX_REVISION)).unwrap_or_default().to_owned();
    let enclosure = facts.enclosure.map(enclosure).transpose()?;
    Ok(Facts {
        enclosure,
        name: facts.name.map(cut),
        size: facts.size,
        revision: facts.revision.map(cut),
        modified: facts.modified.map(cut),
        access: match facts.access {
            source::Access::Once => Access::Once,
            source::Access::Restart => Access::Restart,
            source::Access::Ranged => Access::Ranged,
        },
    })
}

fn enclosure(told: source::Enclosure) -> Result<Enclosure, String> {
    let around = told.before.len().max(told.after.len());
    if around > MAX_AROUND {
        return Err(format!("says that its disk stands in {around} bytes on one side, expected at most {MAX_AROUND}"));
    }
    let digest = told.digest.parse().map_err(|why| format!("says what its disk stands in: {why}"))?;
    Ok(Enclosure { before: told.before.into(), after: told.after.into(), digest })
}
