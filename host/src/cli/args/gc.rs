//! The arguments of `gc`.

use std::time::Duration;

use clap::Args as ClapArgs;

use super::PolicyFlags;

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Gc {
    /// An OCI image layout: oci:DIR. A registry clears its own storage.
    #[arg(value_name = "oci:DIR")]
    pub(in crate::cli) at: String,
    /// Remove them. Without it, it is only said what would be removed.
    #[arg(long)]
    pub(in crate::cli) yes: bool,
    /// How old a blob must be: those of an import that is under way are not named yet.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    pub(in crate::cli) grace: Duration,
    /// As JSON for programs; docs/gc.md has its fields.
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(flatten)]
    pub(in crate::cli) policy: PolicyFlags,
}
