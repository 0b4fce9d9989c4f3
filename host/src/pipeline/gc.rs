//! Clearing an image layout of what nothing names any more.

use std::path::PathBuf;
use std::time::Duration;

use super::Target;
use super::destination::allowed;
use super::listing::{COLLECTED_SCHEMA, Collected, CollectedBlob};
use crate::error::Result;
use crate::layout;
use crate::policy::Policy;

/// What is to be cleared.
#[derive(Clone, Debug)]
pub struct GcPlan {
    /// The layout.
    pub layout: PathBuf,
    /// How old a blob must be.
    pub grace: Duration,
    /// Whether anything is removed; else it is only said what would be.
    pub remove: bool,
    /// What is allowed.
    pub policy: Policy,
}

/// Carries out a plan.
///
/// # Errors
/// `destination-denied` if the policy does not let layouts be written, also where nothing would be removed; `local-file`.
pub async fn collect(plan: &GcPlan) -> Result<Collected> {
    let target = Target::Layout(plan.layout.clone());
    allowed(&target, &[], &plan.policy)?;
    let garbage = layout::collect(&plan.layout, plan.grace, plan.remove).await?;
    let bytes = garbage.blobs.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
    let blob = |(digest, size): (crate::oci::Digest, u64)| CollectedBlob { digest: digest.to_string(), size };
    Ok(Collected {
        schema: COLLECTED_SCHEMA,
        name: target.shown(),
        removed: plan.remove,
        blobs: garbage.blobs.into_iter().map(blob).collect(),
        bytes,
        young: garbage.young,
        named: garbage.named,
    })
}
