//! The arguments of `export`.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use super::super::size;
use super::{PolicyFlags, ProgressKind};
use crate::pipeline::{self, SourceConnections};

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Export {
    /// docker://host[:port]/repository[:tag|@digest], the same without docker://, or oci:DIR[:tag].
    pub(in crate::cli) reference: String,
    /// A file that is made, a block device that is written to, or - for standard output.
    #[arg(value_name = "FILE|-")]
    pub(in crate::cli) file: PathBuf,
    /// Write over FILE if it is there; a device always is.
    #[arg(long)]
    pub(in crate::cli) force: bool,
    /// Where zeros are left out: in files, also on a device (which must be empty), or nowhere.
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub(in crate::cli) sparse: SparseWhen,
    /// The image's platform, of an index [default: linux/amd64, or the only one there is].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(in crate::cli) platform: Option<String>,
    /// Source component: a built-in name, a file or docker://host/repository@sha256:….
    #[arg(long, value_name = "SPEC")]
    pub(in crate::cli) source: Option<String>,
    /// Something the source component is told, as it documents. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(in crate::cli) source_option: Vec<String>,
    /// Connections that bring the disk at once: 1 to 16. Of a layer that is not compressed, in a registry with ranges.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(in crate::cli) source_connections: SourceConnections,
    /// Bytes per second that the transfer does not exceed: a number, or one with KiB, MiB or GiB.
    #[arg(long, value_name = "RATE", value_parser = size::per_second)]
    pub(in crate::cli) limit_rate: Option<NonZeroU64>,
    /// Credentials for the registry, in docker's config.json format. Credential helpers that it names are asked.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) auth_file: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) policy: PolicyFlags,
    /// Write the report there, on failure too; - prints it. docs/export.md has its fields.
    #[arg(long, value_name = "FILE|-")]
    pub(in crate::cli) report: Option<PathBuf>,
    /// How progress is shown.
    #[arg(long, value_enum, default_value_t = ProgressKind::Auto, value_name = "KIND")]
    pub(in crate::cli) progress: ProgressKind,
    /// Where --progress json goes instead of standard error: the number of a descriptor that is open for writing.
    #[arg(long, value_name = "N")]
    pub(in crate::cli) progress_fd: Option<i32>,
}

/// Where zeros are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum SparseWhen {
    /// In files; on a device they are written.
    #[default]
    Auto,
    /// On a device too.
    Always,
    /// Nowhere.
    Never,
}

impl From<SparseWhen> for pipeline::Sparse {
    fn from(when: SparseWhen) -> Self {
        match when {
            SparseWhen::Auto => Self::Auto,
            SparseWhen::Always => Self::Always,
            SparseWhen::Never => Self::Never,
        }
    }
}
