//! All uploads: those that run, in places that are counted, and those that ended, for whoever asks what became of them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::spawn_local;

use super::answer::Refused;
use super::refusal::Refusal;
use super::totals::Totals;
use super::upload::{Bounds, Ended, Upload, too_large};
use super::wishes::{Wishes, malformed};
use super::{Service, Told, worker};
use crate::error::{Code, Error};
use crate::net::{Peer, random};
use crate::pipeline::{Brought, Source, incoming, interrupt};

/// How many uploads that ended are remembered, and for how long.
const MAX_REMEMBERED: usize = 64;
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// The uploads of one service.
pub(super) struct Uploads {
    service: Service,
    told: Box<dyn Told>,
    all: RefCell<BTreeMap<String, Rc<Upload>>>,
    ended: RefCell<VecDeque<(Instant, String)>>,
    draining: Cell<bool>,
    /// How many run, for whoever waits for fewer.
    running: watch::Sender<usize>,
    /// The first that ended.
    first: RefCell<Option<Rc<Ended>>>,
    pub(super) totals: Totals,
}

/// Why there is no upload.
pub(super) enum NotBegun {
    /// It was refused.
    Refused(Refused),
    /// An import like that would fail, or cannot begin.
    Failed(Error),
}

/// What a client announces.
pub(super) struct Announced {
    pub(super) wishes: Wishes,
    /// Bytes that are to come, if it knows.
    pub(super) length: Option<u64>,
    /// Whether they come in parts.
    pub(super) in_parts: bool,
}

impl Uploads {
    pub(super) fn new(service: Service, told: Box<dyn Told>) -> Self {
        let (running, _) = watch::channel(0);
        Self {
            service,
            told,
            all: RefCell::default(),
            ended: RefCell::default(),
            draining: Cell::new(false),
            running,
            first: RefCell::default(),
            totals: Totals::default(),
        }
    }

    /// What is served.
    pub(super) const fn service(&self) -> &Service {
        &self.service
    }

    /// Whoever is told what happens.
    pub(super) fn told(&self) -> &dyn Told {
        &*self.told
    }

    /// Whether an upload could begin now.
    pub(super) fn has_place(&self) -> Result<(), Refused> {
        if self.draining.get() {
            return Err(Refused::new(Refusal::Draining, "the server is about to end"));
        }
        let (running, most) = (*self.running.borrow(), self.service.uploads.get());
        if running < most {
            return Ok(());
        }
        let uploads = if most == 1 { "upload is" } else { "uploads are" };
        Err(Refused::new(
            Refusal::Busy,
            format!("{running} {uploads} running, expected at most {most} at the same time"),
        )
        .hint("ask again later"))
    }

    /// Begins one.
    pub(super) fn begin(self: &Rc<Self>, announced: Announced, peer: &Peer) -> Result<Rc<Upload>, NotBegun> {
        let Announced { wishes, length, in_parts } = announced;
        self.has_place().map_err(NotBegun::Refused)?;
        let tags = wishes.tags(&self.service.plan.tags);
        let same = |upload: &Rc<Upload>| upload.ended().is_none() && upload.tags.iter().any(|tag| tags.contains(tag));
        if self.all.borrow().values().any(same) {
            let message = "another upload for that tag is running";
            return Err(NotBegun::Refused(Refused::new(Refusal::TagBusy, message)));
        }
        if let (Some(most), Some(length)) = (self.service.max_bytes, length)
            && length > most
        {
            return Err(NotBegun::Failed(too_large(most, Some(length))));
        }
        let (bringer, brought) = incoming();
        let mut plan = wishes.planned(&self.service.plan, Source::Upload(Brought::new(brought)), length);
        if self.service.spools_unknown && plan.disk_size.is_some() {
            plan.spool = None;
        }
        if plan.input.size.is_none() && plan.chosen.filters.are_none() && plan.spool.is_none() {
            let message = "the request does not say how long the disk is, and there is no spool to find it out";
            let refused = Refused::new(Refusal::LengthRequired, message)
                .hint("send a Content-Length, or name the length: /upload?size=BYTES");
            return Err(NotBegun::Refused(refused));
        }
        if let (Some(size), Some(length)) = (plan.disk_size.filter(|_| plan.chosen.filters.are_none()), length)
            && size != length
        {
            return Err(NotBegun::Refused(malformed(format!("`size` is {size}, and {length} bytes are announced"))));
        }
        let length = plan.input.size;
        let id: String = random::<16>().map_err(NotBegun::Failed)?.iter().map(|byte| format!("{byte:02x}")).collect();
        let (interrupt, interrupted) = interrupt();
        let limits = &plan.policy.limits;
        let bounds = Bounds {
            stall: limits.client_stall,
            least_rate: limits.client_rate as u64,
            away: limits.client_away,
            max_bytes: self.service.max_bytes,
        };
        let (meters, ended) = worker::begin(plan, interrupted).map_err(NotBegun::Failed)?;
        let upload = Rc::new(Upload::new((id, length, tags), in_parts, bounds, (bringer, interrupt, meters)));
        self.forget();
        self.all.borrow_mut().insert(upload.id.clone(), Rc::clone(&upload));
        self.running.send_modify(|running| *running += 1);
        self.told.began(&upload.id, peer.address, &upload.meters);
        let (uploads, attended) = (Rc::clone(self), Rc::clone(&upload));
        spawn_local(async move {
            let ended = attended.attend(ended).await;
            uploads.over(&attended, ended);
        });
        Ok(upload)
    }

    /// The upload of that name.
    pub(super) fn find(&self, id: &str) -> Option<Rc<Upload>> {
        self.forget();
        self.all.borrow().get(id).cloned()
    }

    /// Those that run.
    pub(super) fn running(&self) -> Vec<Rc<Upload>> {
        self.all.borrow().values().filter(|upload| upload.ended().is_none()).cloned().collect()
    }

    /// From now on none begins.
    pub(super) fn drain(&self) {
        self.draining.set(true);
    }

    /// Waits until none runs.
    pub(super) async fn none_runs(&self) {
        // The sender lives as long as this.
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
    }

    /// Ends all that run, as a signal does; gives their number.
    pub(super) fn end_all(&self, code: Code) -> usize {
        let running = self.running();
        running.iter().for_each(|upload| upload.end(code));
        running.len()
    }

    /// Waits until the first has ended.
    pub(super) async fn first(&self) -> Rc<Ended> {
        let mut running = self.running.subscribe();
        loop {
            if let Some(first) = self.first.borrow().clone() {
                return first;
            }
            let _ = running.changed().await;
        }
    }

    fn over(&self, upload: &Upload, ended: Rc<Ended>) {
        self.totals.add(&ended, upload.meters.get().map(|meters| meters.reading()).as_ref());
        self.told.ended(&upload.id, &ended.outcome, ended.report.as_ref());
        self.ended.borrow_mut().push_back((Instant::now(), upload.id.clone()));
        self.first.borrow_mut().get_or_insert(ended);
        self.running.send_modify(|running| *running = running.saturating_sub(1));
    }

    /// Forgets what ended too long ago, or before too many others.
    fn forget(&self) {
        let (mut ended, mut all) = (self.ended.borrow_mut(), self.all.borrow_mut());
        while let Some((since, id)) = ended.front() {
            if ended.len() <= MAX_REMEMBERED && since.elapsed() < REMEMBERED {
                break;
            }
            all.remove(id);
            ended.pop_front();
        }
    }
}
