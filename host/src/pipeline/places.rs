//! The stages as they are measured: who works for which.

use std::sync::Arc;

use super::import::Run;
use super::reading::Reading;
use super::{Plan, Source, Target};
use crate::engine::Component;
use crate::net::Net;
use crate::observe::{End, Ends, Giver, Meter, Place, Progress, Taker, Task, Traffic};
use crate::policy::Side;

/// Who gives the disk of an import, and who takes it.
pub(super) const fn ends(plan: &Plan) -> Ends {
    let from = match &plan.input.source {
        Source::Upload(_) => Giver::Client,
        Source::Http(_) | Source::File(_) | Source::StandardInput | Source::Other(_) => Giver::Source,
    };
    let to = match &plan.target {
        Target::Registry { .. } => Taker::Registry,
        Target::Layout(_) => Taker::Layout,
    };
    Ends { from, to }
}

impl Run<'_> {
    /// What reading its disk takes.
    pub(super) const fn reading(&self) -> Reading<'_> {
        Reading {
            input: &self.plan.input,
            source: &self.components.source,
            net: self.net,
            progress: self.progress,
            connections: self.plan.connections,
            limit: self.plan.limit,
        }
    }

    /// The framing, with the digest of what it frames.
    pub(super) fn framing_place(&self) -> Place {
        let workers = [self.components.framing.work(), &self.progress.digest];
        Place::of(&self.progress.layer, workers.map(Arc::clone))
    }

    /// A component, whose output has that meter.
    pub(super) fn passing(component: &Component, out: &Arc<Meter>) -> Place {
        Place::of(out, [Arc::clone(component.work())])
    }

    /// A compressor, with the digest of what it writes.
    pub(super) fn compressor_place(&self, out: &Arc<Meter>) -> Place {
        let compressor = self.components.compressor.as_ref().map(|compressor| Arc::clone(compressor.work()));
        Place::of(out, compressor.into_iter().chain([Arc::clone(&self.progress.compressed_digest)]))
    }

    /// The upload: the registry's connections.
    pub(super) fn upload_place(&self) -> Place {
        let Traffic { sockets, tls, .. } = self.net.connections().traffic(Side::Registry).clone();
        Place::of(&self.progress.upload, [sockets, tls])
    }

    /// One more that works.
    pub(super) fn watch(&self, component: &Component) {
        let task = Task::Component(component.kind().as_str(), component.name().to_owned());
        self.progress.watch(task, vec![Arc::clone(component.work())]);
    }

    /// Everybody who works, by what for.
    pub(super) fn watch_work(&self) {
        let (progress, components) = (self.progress, self.components);
        let probe = Self::passing(&components.probe, &Arc::default());
        let source = source_place(self.net, progress, &components.source);
        let (framing, upload) = (self.framing_place(), self.upload_place());
        for (stage, place) in [("source", &source), ("probe", &probe), ("framing", &framing), ("upload", &upload)] {
            progress.runs(stage, place);
        }
        self.ledger.places(source, probe, framing, upload);
        let fixed = [&components.source, &components.probe, &components.framing];
        for component in fixed.into_iter().chain(&components.filters).chain(&components.compressor) {
            self.watch(component);
        }
        let digests = [&progress.digest, &progress.compressed_digest].map(Arc::clone);
        progress.watch(Task::Digest, digests.to_vec());
    }
}

/// The source: its component, and its connections.
pub(super) fn source_place(net: &Net, progress: &Progress, source: &Component) -> Place {
    let Traffic { sockets, tls, .. } = net.connections().traffic(Side::Source).clone();
    Place::of(&progress.source, [Arc::clone(source.work()), sockets, tls])
}

/// The connections of both ends, for whoever watches them.
pub(super) fn traffic(connections: &crate::net::Connections) -> [Traffic; 2] {
    [End::Source, End::Registry].map(|end| match end {
        End::Source => connections.traffic(Side::Source).clone(),
        End::Registry => connections.traffic(Side::Registry).clone(),
    })
}
