//! Clearing an image layout, or the storage of a registry, of what nothing names any more.

use std::path::PathBuf;
use std::time::Duration;

use super::Target;
use super::destination::allowed;
use super::listing::{COLLECTED_SCHEMA, Collected, CollectedBlob, CollectedLink};
use crate::error::{Error, Result, Stage};
use crate::layout::{self, Clearing, Storage};
use crate::oci::Digest;
use crate::policy::Policy;

/// What is to be cleared.
#[derive(Clone, Debug)]
pub struct GcPlan {
    /// Where.
    pub at: GcAt,
    /// How old something must be.
    pub grace: Duration,
    /// Whether anything is removed; else it is only said what would be.
    pub remove: bool,
    /// What is allowed.
    pub policy: Policy,
}

/// Where something is cleared.
#[derive(Clone, Debug)]
pub enum GcAt {
    /// An image layout directory.
    Layout(PathBuf),
    /// The storage of a registry, as distribution keeps it in a file system.
    Storage {
        /// Its `rootdirectory`.
        folder: PathBuf,
        /// Whether manifests go that no tag leads to.
        untagged: bool,
    },
}

/// Carries out a plan.
///
/// # Errors
/// `destination-denied` if the policy does not let layouts be written, also where nothing would be removed; `local-file`.
pub async fn collect(plan: &GcPlan) -> Result<Collected> {
    match &plan.at {
        GcAt::Layout(folder) => {
            let target = Target::Layout(folder.clone());
            allowed(&target, &[], &plan.policy)?;
            let garbage = layout::collect(folder, plan.grace, plan.remove).await?;
            Ok(Collected {
                schema: COLLECTED_SCHEMA,
                name: target.shown(),
                removed: plan.remove,
                bytes: sum(&garbage.blobs),
                blobs: garbage.blobs.into_iter().map(blob).collect(),
                young: garbage.young,
                named: garbage.named,
                manifests: Vec::new(),
                links: Vec::new(),
                uploads: Vec::new(),
            })
        }
        GcAt::Storage { folder, untagged } => {
            let clearing = Clearing { grace: plan.grace, untagged: *untagged, remove: plan.remove, until: None };
            let from = folder.clone();
            // It reads every manifest there is.
            let cleared = tokio::task::spawn_blocking(move || Storage::open(&from)?.clear(clearing)).await;
            let cleared = cleared.map_err(|why| Error::internal(Stage::Upload, why.to_string()))??;
            let link =
                |(repository, digest): (String, Digest)| CollectedLink { repository, digest: digest.to_string() };
            Ok(Collected {
                schema: COLLECTED_SCHEMA,
                name: format!("distribution:{}", folder.display()),
                removed: plan.remove,
                bytes: sum(&cleared.blobs),
                blobs: cleared.blobs.into_iter().map(blob).collect(),
                young: cleared.young,
                named: cleared.named,
                manifests: cleared.manifests.into_iter().map(link).collect(),
                links: cleared.links.into_iter().map(link).collect(),
                uploads: cleared.uploads,
            })
        }
    }
}

fn sum(blobs: &[(Digest, u64)]) -> u64 {
    blobs.iter().map(|(_, size)| *size).fold(0, u64::saturating_add)
}

fn blob((digest, size): (Digest, u64)) -> CollectedBlob {
    CollectedBlob { digest: digest.to_string(), size }
}
