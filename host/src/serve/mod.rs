//! `serve`: disks that clients upload over HTTP, each imported as it comes.
//!
//! An upload is an import whose source is the body of a request: nothing of it is kept but what bounded pipes hold, and a
//! client is taken no more from than the destination takes. The listener is one thread; each import has one of its own.
//!
//! | module | what it is |
//! |---|---|
//! | `desk` | which request is for whom |
//! | `access` | who may ask |
//! | `wishes` | what a client may say about its disk |
//! | `simple`, `tus` | an upload as one body, and in parts |
//! | `uploads`, `upload` | those that run and those that ended; one of them |
//! | `worker` | an import in its thread |
//! | `answer`, `refusal`, `document` | what clients are told |
//! | `page` | the upload page for browsers |
//! | `totals`, `metrics`, `gauges`, `exposition` | what Prometheus is told, and how |
//! | `monitor` | the same of one import, beside it |

mod access;
mod answer;
mod desk;
mod document;
mod exposition;
mod gauges;
mod metrics;
mod monitor;
mod pace;
mod page;
mod refusal;
mod simple;
mod totals;
mod tus;
mod upload;
mod uploads;
mod wishes;
mod worker;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

pub use monitor::{Monitor, MonitorIdentity, MonitorPlan, Watched};

pub use worker::Meters;

use access::Access;
use desk::{Desk, Scope};
use uploads::Uploads;

use crate::error::{Code, Error, Result, Stage};
use crate::net::{Listener, Secret, closing};
use crate::pipeline::{Imported, Plan, Report};
use crate::policy::ListenerTls;

/// A token, as [`Service`] takes it.
pub type Token = Secret;

/// How long imports that are ended may take to clean up behind themselves.
const CLEANING_UP: Duration = Duration::from_secs(30);

/// What is served: everything resolved, nothing left to ask.
#[derive(Clone, Debug)]
pub struct Service {
    /// Where clients connect.
    pub at: SocketAddr,
    /// TLS there; without it whatever they send can be read and changed on the way.
    pub tls: Option<ListenerTls>,
    /// Where health and metrics are served besides, without TLS and without a token.
    pub health_at: Option<SocketAddr>,
    /// The import of each upload. Its source is put in its place.
    pub plan: Plan,
    /// The token that requests must bear.
    pub token: Option<Token>,
    /// How many uploads run at the same time.
    pub uploads: NonZeroUsize,
    /// The most bytes of an upload, as they are sent.
    pub max_bytes: Option<u64>,
    /// Whether clients choose the tag.
    pub clients_tag: bool,
    /// How long uploads may go on once the service is to end.
    pub drain: Duration,
    /// Whether it ends with the first upload that ends.
    pub once: bool,
    /// How requests are understood and answered.
    pub manners: Manners,
    /// Whether only disks go through the plan's spool whose length is not known.
    pub spools_unknown: bool,
}

/// How requests are understood and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// As `docs/serve.md` says.
    Own,
    /// As the uploader of the system that this one replaces did: `docs/drop-in.md`.
    Dvcr,
}

/// Whoever is told what happens.
pub trait Told: 'static {
    /// It listens, there.
    fn listens(&self, at: SocketAddr, tls: bool, health_at: Option<SocketAddr>);
    /// A client could not be spoken to within the policy.
    fn turned_away(&self, from: SocketAddr, why: &str);
    /// An upload began, whose meters are there as soon as its import has begun to count.
    fn began(&self, id: &str, from: SocketAddr, meters: &Meters);
    /// An upload ended.
    fn ended(&self, id: &str, outcome: &Result<Imported>, report: Option<&Report>);
    /// It begins no more uploads, and waits for those that run.
    fn drains(&self, running: usize, within: Duration);
}

/// Signals that are to end it, as they come: none yet, or the last one and how many there were.
pub type Signals = watch::Receiver<Option<(Code, usize)>>;

/// Serves until a signal comes, or with `once` until the first upload has ended. Then no more uploads begin, and those that
/// run may go on for `drain`; they are ended at the second signal, and the third one is not waited for. Must run in a
/// `LocalSet`.
///
/// # Errors
/// Where it cannot listen; with `once`, those of the import; the signal's code, if uploads were ended by it.
pub async fn serve(service: Service, mut signals: Signals, told: impl Told) -> Result<Option<Imported>> {
    let policy = &service.plan.policy;
    let listener = Listener::open(service.at, service.tls.as_ref(), policy).await?;
    let health = match service.health_at {
        Some(at) => Some(Listener::open(at, None, policy).await?),
        None => None,
    };
    told.listens(listener.address(), listener.speaks_tls(), health.as_ref().map(Listener::address));
    let (once, drain) = (service.once, service.drain);
    let access = Rc::new(Access::new(service.token.as_ref(), service.tls.is_some()));
    let uploads = Rc::new(Uploads::new(service, Box::new(told)));
    let desk = |scope| Rc::new(Desk { uploads: Rc::clone(&uploads), access: Rc::clone(&access), scope });
    let (close, closing) = closing();
    let listening = spawn_local(listener.serve(desk(Scope::All), closing.clone()));
    let beside = health.map(|health| spawn_local(health.serve(desk(Scope::Health), closing)));

    let first = async {
        match once {
            true => uploads.first().await,
            false => std::future::pending().await,
        }
    };
    let first = tokio::select! {
        first = first => Some(first),
        _ = signalled(&mut signals, 1) => None,
    };
    uploads.drain();
    let ended = match first {
        Some(_) => 0,
        None => drained(&uploads, &mut signals, drain).await,
    };
    close.send_replace(true);
    // Whoever waits for an answer gets it; the listeners see to it that this does not take long.
    let _ = listening.await;
    if let Some(beside) = beside {
        let _ = beside.await;
    }
    match first {
        Some(first) => match &first.outcome {
            Ok(imported) => Ok(Some(imported.clone())),
            Err(error) => Err(error.retold()),
        },
        None if ended > 0 => {
            let code = last(&signals);
            Err(Error::new(code, Stage::Upload, format!("{ended} uploads were ended before they were done")))
        }
        None => Ok(None),
    }
}

/// Waits for the uploads that run, and ends them when it is time; gives how many were ended.
async fn drained(uploads: &Uploads, signals: &mut Signals, within: Duration) -> usize {
    uploads.told().drains(uploads.running().len(), within);
    tokio::select! {
        biased;
        () = uploads.none_runs() => return 0,
        _ = signalled(signals, 2) => {}
        () = sleep(within) => {}
    }
    let ended = uploads.end_all(last(signals));
    tokio::select! {
        _ = timeout(CLEANING_UP, uploads.none_runs()) => {}
        _ = signalled(signals, 3) => {}
    }
    ended
}

/// Resolves once there were so many signals; never if nobody receives any.
async fn signalled(signals: &mut Signals, times: usize) -> Option<Code> {
    let there = |signal: &Option<(Code, usize)>| signal.is_some_and(|(_, count)| count >= times);
    let code = signals.wait_for(there).await.ok().and_then(|signal| signal.map(|(code, _)| code));
    if code.is_some() { code } else { std::future::pending().await }
}

fn last(signals: &Signals) -> Code {
    signals.borrow().map_or(Code::Terminated, |(code, _)| code)
}
