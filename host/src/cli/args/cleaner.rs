//! The arguments of `dvcr-cleaner`, as it had them, and few of ours.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Cleaner {
    /// The `rootdirectory` of the registry's storage.
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/lib/registry")]
    pub(in crate::cli) storage: PathBuf,
    /// The folder of the service account by which the cluster is asked.
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/run/secrets/kubernetes.io/serviceaccount")]
    pub(in crate::cli) service_account: PathBuf,
    /// Do not ask.
    #[arg(short, long, global = true)]
    pub(in crate::cli) yes: bool,
    #[command(subcommand)]
    pub(in crate::cli) command: CleanerCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CleanerCommand {
    /// Garbage collector
    Gc {
        #[command(subcommand)]
        command: CleanerGc,
    },
    /// A list of VirtualImages or ClusterVirtualImages
    Ls {
        #[command(subcommand)]
        command: CleanerLs,
    },
    /// Delete VirtualImages or ClusterVirtualImages
    Delete {
        #[command(subcommand)]
        command: CleanerDelete,
    },
    /// Waits for SIGTERM or SIGINT
    Pause,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CleanerGc {
    /// Deletes cache data, and layers not referenced by any manifests
    Run,
    /// Deletes all stale images that have no corresponding resource in the cluster, and clears the storage
    AutoCleanup {
        /// Update secret with result and annotation after the cleanup
        #[arg(long, value_name = "SECRET")]
        maintenance_secret_name: Option<String>,
        /// Max time for running garbage collection command
        #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
        gc_timeout: Duration,
    },
    /// Reports stale images that have no corresponding resource in the cluster
    Check,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CleanerLs {
    /// Get a VirtualImage or a list of VirtualImages
    Vi {
        /// The image
        #[arg(conflicts_with_all = ["all", "all_namespaces"])]
        image: Option<String>,
        /// A namespace of VirtualImages
        #[arg(short, long, default_value = "default", conflicts_with = "all_namespaces")]
        namespace: String,
        /// A list of all VirtualImages
        #[arg(long, conflicts_with = "all_namespaces")]
        all: bool,
        /// A list of all VirtualImages in all namespaces
        #[arg(long)]
        all_namespaces: bool,
    },
    /// Get a ClusterVirtualImage or a list of ClusterVirtualImages
    Cvi {
        /// The image
        #[arg(conflicts_with = "all")]
        image: Option<String>,
        /// A list of all ClusterVirtualImages
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CleanerDelete {
    /// Delete a VirtualImage or all VirtualImages in namespace
    Vi {
        /// The image
        #[arg(conflicts_with = "all", required_unless_present = "all")]
        image: Option<String>,
        /// A namespace of VirtualImages
        #[arg(short, long, default_value = "default")]
        namespace: String,
        /// Delete all VirtualImages
        #[arg(long)]
        all: bool,
    },
    /// Delete a ClusterVirtualImage or all ClusterVirtualImages
    Cvi {
        /// The image
        #[arg(conflicts_with = "all", required_unless_present = "all")]
        image: Option<String>,
        /// Delete all ClusterVirtualImages
        #[arg(long)]
        all: bool,
    },
}
