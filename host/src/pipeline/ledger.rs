//! What is known so far, written down as the flow learns it: a report needs it on failure too.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::content::Content;
use super::process::Process;
use super::report::{
    ChecksumsReport, ComponentReport, ConnectionReport, ContentReport, CopiedImageReport, CopyReport, DiskReport,
    ErrorReport, HazardReport, ImageReport, PreflightReport, ProxyReport, Report, SCHEMA, SourceReport, TlsReport,
    TransferReport,
};
use super::spent::{bottleneck, waits, work};
use super::{Checksum, Components, Place, Plan};
use crate::engine::Component;
use crate::error::{Code, Error, Result, Retryable};
use crate::net::{ClientCertificate, Connection, Negotiated, Net};
use crate::observe::{Figures, Place as Measured, Progress};
use crate::oci::{Descriptor, Image};
use crate::policy::Side;
use crate::registry::Terms;
use crate::stages::{Access, Described, Entry, Facts, FramedLayer, Hazard, Severity, Verdict};
use crate::stream::Sum;

/// The facts of one run.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Known>);

#[derive(Debug, Default)]
pub(super) struct Known {
    facts: Option<Facts>,
    entry: Option<Entry>,
    verdict: Option<Verdict>,
    content: Option<ContentReport>,
    demanded: Option<Vec<Checksum>>,
    spools: bool,
    continued_from: Option<u64>,
    received: Vec<Sum>,
    of_disk: Vec<Sum>,
    layer: Option<Descriptor>,
    config: Option<Descriptor>,
    manifest: Option<Descriptor>,
    copied: Option<CopyReport>,
    terms: Option<Terms>,
    pub(super) probed: Option<u64>,
    pub(super) source: Passed,
    pub(super) filters: Vec<Passed>,
    pub(super) probe: Passed,
    pub(super) framing: Passed,
    pub(super) compressor: Option<Passed>,
    pub(super) upload: Passed,
}

/// A stage, and what is measured of it once it runs.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) component: Option<ComponentReport>,
    pub(super) place: Option<Measured>,
}

impl Ledger {
    pub(super) fn components(&self, components: &Components) {
        let mut known = self.lock();
        known.source = Passed::not_yet(&components.source);
        known.filters = components.filters.iter().map(Passed::not_yet).collect();
        known.compressor = components.compressor.as_ref().map(Passed::not_yet);
        known.probe = Passed::not_yet(&components.probe);
        known.framing = Passed::not_yet(&components.framing);
    }

    /// Where those stages are measured that are there from the start.
    pub(super) fn places(&self, source: Measured, probe: Measured, framing: Measured, upload: Measured) {
        let mut known = self.lock();
        known.source.place = Some(source);
        known.probe.place = Some(probe);
        known.framing.place = Some(framing);
        known.upload.place = Some(upload);
    }

    pub(super) fn source(&self, facts: &Facts, described: &Described) {
        let mut known = self.lock();
        known.facts = Some(facts.clone());
        ran(&mut known.source.component, described);
    }

    /// One more filter, chosen by what flows.
    pub(super) fn filter_chosen(&self, filter: &Component) {
        self.lock().filters.push(Passed::not_yet(filter));
    }

    /// The filter at that place has an output.
    pub(super) fn filtering(&self, at: usize, described: &Described, place: &Measured) {
        if let Some(filter) = self.lock().filters.get_mut(at) {
            filter.runs(described, place);
        }
    }

    pub(super) fn compressing(&self, described: &Described, place: &Measured) {
        if let Some(compressor) = &mut self.lock().compressor {
            compressor.runs(described, place);
        }
    }

    pub(super) fn disk(&self, entry: &Entry) {
        self.lock().entry = Some(entry.clone());
    }

    pub(super) fn framed(&self, layer: &FramedLayer) {
        ran(&mut self.lock().framing.component, &layer.described);
    }

    pub(super) fn verdict(&self, verdict: &Verdict) {
        let mut known = self.lock();
        ran(&mut known.probe.component, &verdict.described);
        known.verdict = Some(verdict.clone());
    }

    pub(super) fn content(&self, found: &Content) {
        self.lock().content = Some(content(found));
    }

    pub(super) fn probed(&self, bytes: u64) {
        self.lock().probed = Some(bytes);
    }

    /// The disk is spooled on its way.
    pub(super) fn spools(&self) {
        self.lock().spools = true;
    }

    /// The registry had so many bytes of the layer from an earlier run.
    pub(super) fn continued(&self, stored: u64) {
        self.lock().continued_from = Some(stored);
    }

    /// All that is demanded, once the checksum files are read.
    pub(super) fn demanded(&self, checksums: &[Checksum]) {
        self.lock().demanded = Some(checksums.to_vec());
    }

    pub(super) fn checksums(&self, received: Vec<Sum>, of_disk: Vec<Sum>) {
        let mut known = self.lock();
        known.received = received;
        known.of_disk = of_disk;
    }

    pub(super) fn image(&self, layer: &Descriptor, image: &Image) {
        let mut known = self.lock();
        known.layer = Some(layer.clone());
        known.config = Some(image.config.clone());
        known.manifest = Some(image.manifest.clone());
    }

    /// What is put is this index.
    pub(super) fn index(&self, index: &Descriptor) {
        let mut known = self.lock();
        (known.layer, known.config, known.manifest) = (None, None, Some(index.clone()));
    }

    /// An image or an index is copied as it is.
    pub(super) fn copies(&self, kind: &'static str) {
        self.lock().copied = Some(CopyReport { kind, images: Vec::new() });
    }

    /// One of its images stands at the destination.
    pub(super) fn copied(&self, image: CopiedImageReport) {
        if let Some(copied) = &mut self.lock().copied {
            copied.images.push(image);
        }
    }

    /// The destination is open.
    pub(super) fn opened(&self, terms: Terms) {
        self.lock().terms = Some(terms);
    }

    /// `outcome` is what it is called that went well.
    pub(super) fn report(
        &self,
        plan: &Plan,
        net: &Net,
        progress: &Progress,
        outcome: Result<&'static str, &Error>,
    ) -> Report {
        let (known, figures) = (self.lock(), progress.figures());
        let error = outcome.err();
        Report {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            outcome: outcome.unwrap_or("failed"),
            error: error.map(error_report),
            source: known.source_report(plan),
            disk: known.disk_report(plan),
            preflight: known.preflight(),
            image: known.image_report(plan, error.is_none()),
            copy: known.copied.clone(),
            transfer: known.transfer(progress, &figures),
            connections: net.connections().all().iter().map(connection).collect(),
            connections_left_out: net.connections().left_out(),
            stages: known.stages(progress),
            work: work(&figures),
            waits: waits(&figures),
            process: Process::now(&figures),
            bottleneck: bottleneck(&figures),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn source_report(&self, plan: &Plan) -> SourceReport {
        let facts = self.facts.as_ref();
        SourceReport {
            location: Some(plan.input.shown()),
            size: facts.and_then(|facts| facts.size).or_else(|| self.entry.as_ref().map(|entry| entry.size)),
            revision: facts.and_then(|facts| facts.revision.clone()),
            access: facts.map(|facts| access(facts.access)),
            checksums: self.checksums(plan, Place::Received),
        }
    }

    fn checksums(&self, plan: &Plan, place: Place) -> ChecksumsReport {
        let demanded = self.demanded.as_ref().unwrap_or(&plan.checksums);
        let computed = match place {
            Place::Received => &self.received,
            Place::Disk => &self.of_disk,
        };
        let here = demanded.iter().filter(|checksum| checksum.place() == place);
        ChecksumsReport {
            demanded: here.map(|checksum| checksum.expected().to_string()).collect(),
            computed: computed.iter().map(ToString::to_string).collect(),
        }
    }

    fn disk_report(&self, plan: &Plan) -> DiskReport {
        let verdict = self.verdict.as_ref();
        DiskReport {
            name: self.entry.as_ref().map(|entry| entry.name.clone()),
            checksums: self.checksums(plan, Place::Disk),
            format: verdict.map(|verdict| verdict.format.clone()),
            virtual_size: verdict.and_then(|verdict| verdict.virtual_size),
            hazards: verdict.map(|verdict| hazards(&verdict.hazards)),
            details: verdict.map(|verdict| verdict.details.clone()),
            content: self.content.clone(),
        }
    }

    fn image_report(&self, plan: &Plan, done: bool) -> ImageReport {
        let (manifest, layer) = (self.manifest.as_ref(), self.layer.as_ref());
        ImageReport {
            reference: manifest.filter(|_| done).map(|manifest| plan.target.reference(&manifest.digest)),
            tags: plan.tags.iter().filter(|_| done && manifest.is_some()).map(ToString::to_string).collect(),
            digest: manifest.map(|manifest| manifest.digest.to_string()),
            media_type: manifest.map(|manifest| manifest.media_type.clone()),
            config_digest: self.config.as_ref().map(|config| config.digest.to_string()),
            layer_digest: layer.map(|layer| layer.digest.to_string()),
            layer_media_type: layer.map(|layer| layer.media_type.clone()),
            layer_size: layer.map(|layer| layer.size),
        }
    }

    fn preflight(&self) -> PreflightReport {
        PreflightReport {
            destination_opened: self.terms.is_some(),
            chunk_bytes: self.terms.and_then(|terms| terms.chunk),
            least_chunk_bytes: self.terms.and_then(|terms| terms.least_chunk),
        }
    }

    fn transfer(&self, progress: &Progress, figures: &Figures) -> TransferReport {
        let received = progress.source.bytes();
        let seconds = progress.started.elapsed().as_secs_f64();
        TransferReport {
            bytes_received: received,
            bytes_sent: self.sent(progress),
            seconds,
            opening_seconds: figures.opening.as_secs_f64(),
            transferring_seconds: figures.transfer.as_secs_f64(),
            finishing_seconds: figures.finishing.as_secs_f64(),
            average_rate: (seconds > 0.0).then(|| received as f64 / seconds),
            attempts: progress.repeats.attempt(),
            resumes: progress.repeats.resumes(),
            restarts: progress.repeats.restarts(),
            bytes_sent_twice: progress.repeats.bytes_sent_twice(),
            upload: progress.repeats.ways(),
            continued_from: self.continued_from,
            bytes_spooled: self.spools.then(|| progress.spool.bytes()),
        }
    }

    /// Bytes of the layer handed to the destination, as it stores them.
    pub(super) fn sent(&self, progress: &Progress) -> u64 {
        match &self.compressor {
            Some(compressor) => compressor.bytes().unwrap_or(0),
            None => progress.layer.bytes(),
        }
    }
}

impl Passed {
    fn not_yet(loaded: &Component) -> Self {
        Self { component: Some(component(loaded)), place: None }
    }

    fn runs(&mut self, described: &Described, place: &Measured) {
        ran(&mut self.component, described);
        self.place = Some(place.clone());
    }

    /// Bytes that came out; none if it never ran.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.place.as_ref().map(|place| place.out.bytes())
    }
}

pub(super) const fn access(access: Access) -> &'static str {
    match access {
        Access::Once => "once",
        Access::Restart => "restart",
        Access::Ranged => "ranged",
    }
}

pub(super) fn hazards(hazards: &[Hazard]) -> Vec<HazardReport> {
    let hazard = |hazard: &Hazard| HazardReport {
        code: hazard.code.clone(),
        severity: match hazard.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Refuse => "refuse",
        },
        message: hazard.message.clone(),
    };
    hazards.iter().map(hazard).collect()
}

pub(super) fn content(content: &Content) -> ContentReport {
    let verdict = content.verdict.as_ref().ok();
    ContentReport {
        inspected: verdict.is_some(),
        reason: content.verdict.as_ref().err().cloned(),
        whole: content.whole,
        wrappers: content.wrappers.clone(),
        format: verdict.map(|verdict| verdict.format.clone()),
        virtual_size: verdict.and_then(|verdict| verdict.virtual_size),
        hazards: hazards(&content.hazards),
        details: verdict.map(|verdict| verdict.details.clone()).unwrap_or_default(),
        filters: content.filters.clone(),
    }
}

pub(super) fn ran(component: &mut Option<ComponentReport>, described: &Described) {
    if let Some(component) = component {
        component.version = Some(described.version.clone());
    }
}

pub(super) fn component(component: &Component) -> ComponentReport {
    ComponentReport {
        name: component.name().to_owned(),
        version: None,
        digest: component.digest().to_string(),
        origin: component.origin().describe(),
    }
}

pub(super) fn connection(connection: &Connection) -> ConnectionReport {
    ConnectionReport {
        side: match connection.side {
            Side::Source => "source",
            Side::Registry => "registry",
        },
        origin: connection.origin.to_string(),
        address: connection.address.to_string(),
        proxy: connection.via.as_ref().map(|via| ProxyReport {
            origin: via.origin.to_string(),
            tls: via.tls.as_ref().map(|tls| session(tls, via.handshake)),
        }),
        tls: connection.tls.as_ref().map(|tls| session(tls, connection.handshake)),
        failed: connection.failed.map(Code::as_str),
    }
}

fn session(tls: &Negotiated, handshake: Option<Duration>) -> TlsReport {
    TlsReport {
        version: tls.version.clone(),
        cipher_suite: tls.suite.clone(),
        key_exchange_group: tls.group.clone(),
        resumed: tls.resumed,
        verified: tls.verified,
        client_certificate: tls.client_certificate.map(|state| match state {
            ClientCertificate::NotAsked => "not-asked",
            ClientCertificate::NotPresented => "not-presented",
            ClientCertificate::Presented => "presented",
        }),
        handshake_seconds: handshake.map(|time| time.as_secs_f64()),
    }
}

/// The report of an import that ended before it had a plan.
#[must_use]
pub fn unplanned(error: &Error, progress: &Progress) -> Report {
    let (known, figures) = (Known::default(), progress.figures());
    Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        outcome: "failed",
        error: Some(error_report(error)),
        source: SourceReport::default(),
        disk: DiskReport::default(),
        preflight: known.preflight(),
        image: ImageReport::default(),
        copy: None,
        transfer: known.transfer(progress, &figures),
        connections: Vec::new(),
        connections_left_out: 0,
        stages: known.stages(progress),
        work: work(&figures),
        waits: waits(&figures),
        process: Process::now(&figures),
        bottleneck: None,
    }
}

/// An error as reports have it.
#[must_use]
pub fn error_report(error: &Error) -> ErrorReport {
    ErrorReport {
        code: error.code().as_str(),
        exit: error.code().exit(),
        stage: error.stage().as_str(),
        blame: error.blame().as_str(),
        retryable: error.retryable() == Retryable::Yes,
        message: error.to_string(),
        causes: error.causes(),
        left: error.leftovers().to_vec(),
        hint: error.advice().map(str::to_owned),
    }
}
