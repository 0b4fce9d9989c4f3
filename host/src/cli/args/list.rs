//! The arguments of `list`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::PolicyFlags;

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct List {
    /// docker://host[:port] for its repositories, docker://host[:port]/repository or oci:DIR for the images there.
    #[arg(value_name = "REGISTRY|REPOSITORY|oci:DIR")]
    pub(in crate::cli) at: String,
    /// Only names: the images are not looked at, which takes three requests for each.
    #[arg(long)]
    pub(in crate::cli) names: bool,
    /// As JSON for programs; docs/list.md has its fields.
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// Credentials for the registry, in docker's config.json format. Credential helpers that it names are asked.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) auth_file: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) policy: PolicyFlags,
}
