//! The arguments of `gc`.

use std::time::Duration;

use clap::Args as ClapArgs;

use super::PolicyFlags;

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Gc {
    /// An OCI image layout, oci:DIR, or the storage of a registry on this machine, distribution:DIR, which must be read-only or
    /// stopped meanwhile.
    #[arg(value_name = "oci:DIR|distribution:DIR")]
    pub(in crate::cli) at: String,
    /// Remove them. Without it, it is only said what would be removed.
    #[arg(long)]
    pub(in crate::cli) yes: bool,
    /// Of a registry's storage, also remove manifests that no tag leads to.
    #[arg(long)]
    pub(in crate::cli) untagged: bool,
    /// How old a blob must be: those of an import that is under way are not named yet.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    pub(in crate::cli) grace: Duration,
    /// As JSON for programs; docs/gc.md has its fields.
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(flatten)]
    pub(in crate::cli) policy: PolicyFlags,
}
