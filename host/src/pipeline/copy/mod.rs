//! An image, or an index with all its images, copied as it is: every document and blob byte for byte. What an import demands of
//! its disk is demanded of each disk here: it flows past the probe on its way, or is read for it where its layer need not
//! be sent.

mod documents;
mod image;
mod origin;

use super::Plan;
use super::destination::Destination;
use super::import::Run;
use super::inspect::ImageAt;
use super::run::{Imported, checksums};
use crate::error::{Code, Error, Result, Stage};
use crate::observe::Phase;
use crate::oci::Platform;
use crate::stages::Alongside;
use documents::{Documents, What, documents};
use origin::Origin;

/// What is copied.
#[derive(Clone, Debug)]
pub struct CopyPlan {
    /// The image or index.
    pub image: ImageAt,
    /// The only platform that is wanted of an index; else it is copied as a whole.
    pub platform: Option<Platform>,
}

impl Plan {
    /// The same with an image that is copied as it is, and whole, whatever kind of image was to be made: for callers who know that
    /// SOURCE is one. Its credentials are the image's own; the policy is that of the plan, on both sides.
    #[must_use]
    pub fn copying(self, image: ImageAt) -> Self {
        Self { copy: Some(CopyPlan { image, platform: None }), ..self }
    }
}

/// documents → each image: its layer past the probe, config, manifest → index → tags.
pub(super) async fn run(run: &Run<'_>, plan: &CopyPlan) -> Result<Imported> {
    run.interrupted.or(run.wanted().known_to(run.engine, &run.components.probe)).await?;
    let checksums = run.interrupted.or(checksums(run)).await?;
    let mut origin = Origin::new(run, plan)?;
    let documents = run.interrupted.or(documents(&mut origin, plan)).await?;
    run.ledger.copies(documents.kind());
    run.progress.expect(documents.layer_bytes());

    let mut destination = Destination::new(&run.plan.target, &run.plan.policy, run.net)?;
    let copied = async {
        destination.may_tag(&run.plan.tags, &documents.root().digest).await?;
        run.progress.enter(Phase::Transferring);
        let last = documents.all.iter().rposition(|document| matches!(document.what, What::Image(_)));
        for (at, document) in documents.all.iter().enumerate() {
            match &document.what {
                What::Image(made) => {
                    let sent = || run.progress.enter(Phase::Committing);
                    let sent: &dyn Fn() = if Some(at) == last { &sent } else { &|| () };
                    image::copy(run, &origin, (document, made), &checksums, &mut destination, sent).await?;
                }
                What::Attached(manifest) => {
                    for blob in manifest.layers.iter().chain([&manifest.config]) {
                        let bytes = origin.blob(blob).await?;
                        destination.put_blob(blob, &bytes).await?;
                    }
                }
                What::Index => run.ledger.index(&document.descriptor),
            }
            destination.put_manifest(&document.descriptor, &document.bytes).await?;
        }
        run.progress.enter(Phase::Publishing);
        let root = documents.last()?;
        destination.tag(&root.descriptor, &root.bytes, &run.plan.tags).await
    };
    match run.interrupted.or(copied).await {
        Ok(()) => {
            let digest = documents.root().digest;
            Ok(Imported { name: run.plan.target.shown(), digest, disk_size: None })
        }
        Err(error) => Err(destination.abandon(advised(error)).await),
    }
}

/// The same up to where the first byte of a disk would move.
pub(super) async fn check(run: &Run<'_>, plan: &CopyPlan) -> Result<()> {
    run.interrupted.or(run.wanted().known_to(run.engine, &run.components.probe)).await?;
    run.interrupted.or(checksums(run)).await?;
    let mut origin = Origin::new(run, plan)?;
    let documents = run.interrupted.or(documents(&mut origin, plan)).await?;
    for document in &documents.all {
        if let What::Image(made) = &document.what {
            let source = image::open(run, &origin, (document, made), &Alongside::default()).await.map_err(advised)?;
            run.ledger.source(source.facts(), source.described());
        }
    }
    let mut destination = Destination::new(&run.plan.target, &run.plan.policy, run.net)?;
    let opened = async {
        destination.may_tag(&run.plan.tags, &documents.root().digest).await?;
        destination.open(&[]).await
    };
    match run.interrupted.or(opened).await {
        Ok(()) => run.ledger.opened(destination.terms(true)),
        Err(error) => return Err(destination.abandon(error).await),
    }
    if let Some(left) = destination.give_up().await {
        run.progress.warn("upload-left", &format!("the check leaves behind {left}"));
    }
    Ok(())
}

/// What to do about an image that is not fit to be copied as it is.
fn advised(error: Error) -> Error {
    match error.code() {
        Code::SourceInvalid => error.hint("to take the disk out and make an image of it: --copy never"),
        _ => error,
    }
}

/// An image that is not fit to be copied.
fn unfit(message: String) -> Error {
    advised(Error::new(Code::SourceInvalid, Stage::Source, message))
}

impl Documents {
    /// `image` or `index`.
    fn kind(&self) -> &'static str {
        match self.all.last().map(|document| &document.what) {
            Some(What::Index) => "index",
            _ => "image",
        }
    }

    /// Bytes of all layers that have a disk.
    fn layer_bytes(&self) -> u64 {
        let layer = |what: &What| match what {
            What::Image(made) => made.layer.size,
            What::Attached(_) | What::Index => 0,
        };
        self.all.iter().map(|document| layer(&document.what)).fold(0, u64::saturating_add)
    }

    /// What the reference leads to.
    fn last(&self) -> Result<&documents::Written> {
        self.all.last().ok_or_else(|| Error::internal(Stage::Source, "there is nothing to copy"))
    }
}
