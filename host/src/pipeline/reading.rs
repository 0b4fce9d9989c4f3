//! Reading a disk from its source, whoever it is read for: going on where it breaks, no faster than the user wants, and verified by
//! what it stands in.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::disk::{attempts, within_output};
use super::places::source_place;
use super::{Input, SourceConnections};
use crate::engine::Component;
use crate::error::{Code, Error, Result, Stage};
use crate::net::Net;
use crate::observe::Progress;
use crate::stages::{Access, Disk, Facts};
use crate::stream::{Flow, Resumable, abreast, enclosed, limited, metered};

/// A disk of which it is said beforehand that it cannot go on where it breaks. A smaller one is soon read once more.
const WORTH_A_WARNING: u64 = 64 << 20;

/// What it takes.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) input: &'a Input,
    pub(super) source: &'a Component,
    pub(super) net: &'a Net,
    pub(super) progress: &'a Progress,
    pub(super) connections: SourceConnections,
    pub(super) limit: Option<NonZeroU64>,
}

impl Reading<'_> {
    /// The disk from the offset `from` on, which must be 0 unless it has ranges and a size.
    pub(super) async fn received(&self, disk: &Disk, from: u64) -> Result<Flow> {
        let whole = match (from, disk.facts().size) {
            (1.., Some(size)) => disk.ranges().read(from, size.saturating_sub(from)).await?,
            _ => disk.read(0, None).await?,
        };
        let whole = self.connected(&self.resumable(disk), disk.facts(), from, whole);
        let whole = within_output(self.source, whole);
        Ok(slowed(metered(whole, source_place(self.net, self.progress, self.source)), self.limit))
    }

    /// Verifies the digest of what the disk stands in, if the source knows one. Such a disk is read from its first byte.
    pub(super) fn within_its_layer(&self, flow: Flow, facts: &Facts) -> Flow {
        let Some(enclosure) = &facts.enclosure else { return flow };
        let (shown, expected) = (self.input.shown(), enclosure.digest);
        enclosed(flow, enclosure.clone(), Arc::clone(&self.progress.checksums), move |got| {
            let message = format!("{shown}: the disk and what it stands in have the digest {got}, expected {expected}");
            Error::new(Code::ChecksumMismatch, Stage::Source, message)
        })
    }

    /// The source's ranges, each going on where it breaks.
    pub(super) fn resumable(&self, disk: &Disk) -> Resumable {
        Resumable::new(disk.ranges(), attempts(self.input, self.net), Arc::clone(&self.progress.repeats))
    }

    /// The disk over as many connections as the user wants, going on where it breaks, if that source can be read so.
    fn connected(&self, resumable: &Resumable, facts: &Facts, from: u64, whole: Flow) -> Flow {
        if let Some(size) = facts.size.filter(|_| facts.access == Access::Ranged) {
            let whole = resumable.whole(whole, from, size);
            return abreast(whole, Arc::new(resumable.clone()), from, size, self.connections);
        }
        if self.connections != SourceConnections::ONE {
            let why = "the source offers no ranges of a disk it can identify: one connection brings the disk";
            self.progress.warn("one-connection", why);
        }
        let again = whole_again(facts);
        let restarts = facts.access == Access::Restart;
        if restarts && facts.size.is_none_or(|size| size >= WORTH_A_WARNING) {
            let why = match again {
                Some(_) => {
                    "the source offers no ranges: if it breaks off, it is read again from its start, up to where it broke"
                }
                None => {
                    "the source offers no ranges of a disk it can identify: if it breaks off, the import fails and has to \
                     start over"
                }
            };
            self.progress.warn("no-resume", why);
        }
        match again {
            Some(size) => resumable.rewound(size, self.limit).whole(whole, 0, size),
            None => whole,
        }
    }
}

/// The size of a disk that can only be read from its start, but as often as wanted. Of another revision than before it refuses
/// to be read; of none nobody could tell.
pub(super) fn whole_again(facts: &Facts) -> Option<u64> {
    facts.size.filter(|_| facts.access == Access::Restart && facts.revision.is_some())
}

/// No faster than the user wants.
pub(super) fn slowed(flow: Flow, limit: Option<NonZeroU64>) -> Flow {
    match limit {
        Some(limit) => limited(flow, limit.get()),
        None => flow,
    }
}
