//! A listener beside an import, in a thread of its own: whoever asks waits for himself alone, and the import for nobody.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::interval;

use super::answer::{Refused, with_body};
use super::desk::{get, nothing};
use super::exposition::{Exposition, MEDIA_TYPE};
use super::gauges::{Gauges, LOOK_EVERY};
use super::metrics;
use super::totals::Sums;
use super::worker::Meters;
use crate::error::{Error, Result, Stage};
use crate::net::{Attendant, Call, Listener, Peer, Reply, closing, self_signed};
use crate::observe::{Progress, Reading};
use crate::pipeline::in_this_thread;
use crate::policy::{ListenerTls, Policy};

/// Where an import is watched: everything resolved, nothing left to ask.
#[derive(Debug)]
pub struct MonitorPlan {
    /// Where it listens.
    pub at: SocketAddr,
    /// As whom.
    pub identity: MonitorIdentity,
    /// What is watched.
    pub watched: Watched,
    /// Whose import it is, where a controller follows it by the gauges of the system that this one replaces.
    pub owner: Option<String>,
}

/// As whom a monitor presents itself.
#[derive(Debug)]
pub enum MonitorIdentity {
    /// As nobody: there is no TLS.
    Nobody,
    /// As whom this says.
    Own(Box<ListenerTls>),
    /// By a certificate of that common name that it makes itself, and that nobody can trust.
    SelfSigned(&'static str),
}

/// What is watched: one import, and others after it that are further attempts at the same.
#[derive(Clone, Debug, Default)]
pub struct Watched(Arc<Mutex<Attempts>>);

#[derive(Debug, Default)]
struct Attempts {
    /// Those before the last.
    before: Sums,
    last: Meters,
}

/// A listener that tells of an import until this is dropped.
#[derive(Debug)]
pub struct Monitor {
    address: SocketAddr,
    /// Dropped, it closes.
    _close: watch::Sender<bool>,
}

impl Watched {
    /// From now on this is watched.
    pub fn watch(&self, next: &Meters) {
        let mut attempts = self.lock();
        let last = std::mem::replace(&mut attempts.last, Arc::clone(next));
        if let Some(last) = last.get() {
            attempts.before.add(&last.reading());
        }
    }

    /// The same of an import in this thread.
    pub fn watch_this(&self, progress: &Arc<Progress>) {
        let meters = Meters::default();
        // It is new, and nobody else's.
        let _ = meters.set(Arc::clone(progress));
        self.watch(&meters);
    }

    fn now(&self) -> (Sums, Option<Reading>) {
        let attempts = self.lock();
        (attempts.before.clone(), attempts.last.get().map(|progress| progress.reading()))
    }

    fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Monitor {
    /// Listens, within what `policy` says of TLS.
    ///
    /// # Errors
    /// Those of a listener: an address that cannot be had, a certificate that cannot be used.
    pub fn start(plan: MonitorPlan, policy: &Policy) -> Result<Self> {
        let no_thread = |why: &str| Error::internal(Stage::Plan, format!("there is no thread for metrics: {why}"));
        let (opened, opening) = mpsc::sync_channel(1);
        let (close, closing) = closing();
        let policy = policy.clone();
        let work = move || {
            let failed = opened.clone();
            let MonitorPlan { at, identity, watched, owner } = plan;
            let served = in_this_thread(&Progress::start(), async move {
                let listener = match open(at, identity, &policy).await {
                    Ok(listener) => listener,
                    Err(error) => return drop(opened.send(Err(error))),
                };
                // Nobody else holds the other end up.
                let _ = opened.send(Ok(listener.address()));
                let stand = Rc::new(Stand { watched, gauges: owner.map(Gauges::new) });
                let looking = spawn_local(look(Rc::clone(&stand)));
                listener.serve(stand, closing).await;
                looking.abort();
            });
            if let Err(error) = served {
                let _ = failed.send(Err(error));
            }
        };
        thread::Builder::new().name("metrics".to_owned()).spawn(work).map_err(|why| no_thread(&why.to_string()))?;
        let address = opening.recv().map_err(|_| no_thread("it ended over a bug"))??;
        Ok(Self { address, _close: close })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn open(at: SocketAddr, identity: MonitorIdentity, policy: &Policy) -> Result<Listener> {
    let tls = match identity {
        MonitorIdentity::Nobody => None,
        MonitorIdentity::Own(tls) => Some(*tls),
        MonitorIdentity::SelfSigned(name) => Some(ListenerTls::of(self_signed(name)?)),
    };
    Listener::open(at, tls.as_ref(), policy).await
}

/// Looks how fast it is, until it is aborted.
async fn look(stand: Rc<Stand>) {
    let Some(gauges) = &stand.gauges else { return };
    let mut every = interval(LOOK_EVERY);
    loop {
        every.tick().await;
        if let (_, Some(now)) = stand.watched.now() {
            gauges.look(&now);
        }
    }
}

/// Answers what is asked of an import.
struct Stand {
    watched: Watched,
    gauges: Option<Gauges>,
}

impl Stand {
    fn answered(&self, call: &Call) -> Result<Reply, Refused> {
        match call.head.uri.path() {
            "/metrics" => {
                get(call)?;
                let (before, now) = self.watched.now();
                let mut page = Exposition::default();
                if let Some(gauges) = &self.gauges {
                    gauges.write(&mut page, now.as_ref());
                }
                metrics::of_import(&mut page, &before, now.as_ref());
                Ok(with_body(StatusCode::OK, MEDIA_TYPE, page.text().into()))
            }
            _ => Err(nothing()),
        }
    }
}

impl Attendant for Stand {
    fn connected(&self, _: &Peer) {}

    fn turned_away(&self, address: SocketAddr, why: &str) {
        tracing::debug!("metrics: no TLS session with {address}: {why}");
    }

    async fn answer(&self, call: Call) -> Reply {
        let reply = self.answered(&call).unwrap_or_else(Refused::reply);
        if call.head.method == Method::HEAD { reply.map(|_| Bytes::new()) } else { reply }
    }
}
