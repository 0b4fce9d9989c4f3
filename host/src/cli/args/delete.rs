//! The arguments of `delete`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;

use super::PolicyFlags;

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Delete {
    /// An image, docker://host[:port]/repository[:tag|@digest] or oci:DIR:tag; or with a rule the images of a repository, of an
    /// image layout or, with --repositories, of a registry, docker://host[:port].
    #[arg(value_name = "REFERENCE|REPOSITORY|REGISTRY|oci:DIR")]
    pub(in crate::cli) at: String,
    /// Delete them. Without it, it is only said what would be deleted.
    #[arg(long)]
    pub(in crate::cli) yes: bool,
    /// Let the other tags of an image go with it. Without it, an image that has some is not deleted.
    #[arg(long, conflicts_with = "tag_only")]
    pub(in crate::cli) with_tags: bool,
    /// Take only the tag away, and leave the image and its other tags. Not every registry can.
    #[arg(long)]
    pub(in crate::cli) tag_only: bool,
    /// Rule: images all of whose tags fit; * stands for any characters.
    #[arg(long, value_name = "PATTERN")]
    pub(in crate::cli) tags: Option<String>,
    /// Rule: images older than that, as in 30d or 6months. An image that does not say how old it is stays.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(in crate::cli) older_than: Option<Duration>,
    /// Rule: all but the N youngest of those that the other rules name, in each repository.
    #[arg(long, value_name = "N")]
    pub(in crate::cli) keep: Option<usize>,
    /// Rule: images without a tag. Of an image layout only: registries do not tell which they have.
    #[arg(long, conflicts_with = "tags")]
    pub(in crate::cli) untagged: bool,
    /// In which repositories of a registry the rules hold: as in vm/*, or vm/** for deeper ones.
    #[arg(long, value_name = "PATTERN")]
    pub(in crate::cli) repositories: Option<String>,
    /// As JSON for programs; docs/delete.md has its fields.
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// Credentials for the registry, in docker's config.json format. Credential helpers that it names are asked.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) auth_file: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) policy: PolicyFlags,
}
