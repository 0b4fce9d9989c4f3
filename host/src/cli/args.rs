//! Arguments as typed. Nothing here looks at the world.

#![allow(rustdoc::broken_intra_doc_links, reason = "these are help texts, where brackets mean what may be left out")]

mod cleaner;
mod delete;
mod dropin;
mod export;
mod gc;
mod list;

use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::color::ColorWhen;
use super::progress::Verbosity;
use super::size;
use crate::pipeline::SourceConnections;

pub(super) use cleaner::{Cleaner, CleanerCommand, CleanerDelete, CleanerGc, CleanerLs};
pub(super) use delete::Delete;
pub(super) use dropin::{DvcrImporter, DvcrUploader};
pub(super) use export::Export;
pub(super) use gc::Gc;
pub(super) use list::List;

/// Where help has the flags that every command takes.
const GENERAL: &str = "General options";

/// Carries virtual machine disks into OCI registries.
#[derive(Debug, Parser)]
#[command(
    name = "longshore",
    version,
    max_term_width = 100,
    after_help = "Exit codes and environment variables: longshore man"
)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
    /// Say less: nothing but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = GENERAL)]
    pub(super) quiet: bool,
    /// Say more; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = GENERAL)]
    pub(super) verbose: u8,
    /// When messages and progress are coloured.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", help_heading = GENERAL)]
    pub(super) color: ColorWhen,
}

impl Args {
    /// How much is said on standard error.
    pub(super) const fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, times) => Verbosity::Verbose(times),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Streams a disk into a registry or an OCI image layout, as a container disk.
    ///
    /// Prints `repository@digest` once the image is verified and tagged.
    Import(Box<Import>),
    /// Takes disks in that clients upload over HTTP, and imports each as it comes.
    ///
    /// Prints `repository@digest` of each image that is verified and tagged. Ends at SIGTERM or SIGINT, behind the uploads that
    /// run; docs/serve.md has what clients send and get.
    Serve(Box<Serve>),
    /// Says what a disk is: format, virtual size, hazards. Reads only what it must.
    ///
    /// Prints the verdict, and ends with exit code 11 where an import would refuse the disk.
    Probe(Box<Probe>),
    /// Brings the disk of a container disk back out of a registry or an OCI image layout, verified.
    ///
    /// Nothing stands under FILE that was not verified. What was written to a device or to standard output cannot be taken
    /// back: there the exit code says whether it is the disk.
    Export(Box<Export>),
    /// Says what an image in a registry or an OCI image layout has: disk, sizes, labels, digests.
    ///
    /// Every document is verified against its digest; of the layers only the beginning is read.
    Inspect(Box<Inspect>),
    /// Lists the repositories of a registry, or the images of a repository or an OCI image layout.
    List(Box<List>),
    /// Deletes images from a registry or an OCI image layout, by reference or by rule; a dry run without --yes.
    ///
    /// Prints the images that go, one line each.
    Delete(Box<Delete>),
    /// Removes what nothing names any more from an OCI image layout or a registry's storage; a dry run without --yes.
    Gc(Box<Gc>),
    /// Lists, deletes and clears the images in a registry's storage as dvcr-cleaner did; docs/drop-in-cleaner.md.
    ///
    /// The same as a program of the name dvcr-cleaner.
    DvcrCleaner(Box<Cleaner>),
    /// Says what this machine and a peer can do: ciphers and their speed, CPU quota, TLS negotiated, registry abilities.
    ///
    /// Nothing is left at the peer. Ends with the exit code that an import would end with there.
    Doctor(Box<Doctor>),
    /// Looks at components.
    Component {
        #[command(subcommand)]
        command: ComponentCommand,
    },
    /// Prints what a shell needs to complete longshore's commands and flags.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Prints the manual page of the program or of one command, with exit codes and environment.
    ///
    /// To read it: longshore man import | man -l -
    Man {
        /// The command, as in: longshore man component list.
        command: Vec<String>,
    },
    /// Looks at policies.
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Imports one disk as dvcr-importer did, by the environment that it had; docs/drop-in.md.
    ///
    /// The same as a program of the name dvcr-importer.
    DvcrImporter(DvcrImporter),
    /// Takes one upload in as dvcr-uploader did, by its flags and environment; docs/drop-in.md.
    ///
    /// The same as a program of the name dvcr-uploader.
    DvcrUploader(Box<DvcrUploader>),
}

#[derive(Debug, Subcommand)]
pub(super) enum ComponentCommand {
    /// Lists the built-in components: name, version, kind, digest, what they declare.
    List {
        /// As one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Shows what a component is: digest, size, what it imports and exports, its own description, the worlds it fits.
    Inspect {
        #[command(flatten)]
        which: Which,
        /// As one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Whether a component fits a world and the policy lets it run; if not, exits with 14 or 13 and says why.
    Check {
        #[command(flatten)]
        which: Which,
        /// The world [default: that of the interface it exports].
        #[arg(long, value_parser = ["source", "filter", "probe", "framing", "compressor"])]
        kind: Option<String>,
    },
}

/// A component that is to be looked at.
#[derive(Debug, ClapArgs)]
pub(super) struct Which {
    /// A built-in name, a file or docker://host/repository@sha256:….
    pub(super) spec: String,
    /// Credentials for the registry, in docker's config.json format. Credential helpers that it names are asked.
    #[arg(long, value_name = "FILE")]
    pub(super) auth_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) policy: PolicyFlags,
}

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Whether a document is a valid policy; if not, exits with 13 and says where it goes wrong.
    Check {
        /// The document.
        file: PathBuf,
    },
    /// Prints the policy in force as a document, with the origin of each value as a comment.
    Show {
        /// One of those that are built in, in the place of the one in force.
        #[arg(long = "builtin", value_enum, value_name = "NAME", conflicts_with_all = ["policy", "ca", "plain_http", "cert", "key"])]
        built_in: Option<BuiltIn>,
        #[command(flatten)]
        policy: PolicyFlags,
    },
    /// Whether the policy would let an import happen, and by which line; if not, ends as the import would.
    ///
    /// Takes the arguments of an import. Nothing is connected to, and no name resolved: what depends on what is found there is
    /// said to be open.
    Explain(Box<Explain>),
}

#[derive(Debug, ClapArgs)]
pub(super) struct Explain {
    #[command(flatten)]
    pub(super) import: Import,
    /// What `serve` asks besides, for a listener with TLS or without it; for SOURCE say -, with --size.
    #[arg(long, value_enum, value_name = "HOW")]
    pub(super) listener: Option<Listener>,
}

/// Whether a listener speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Listener {
    Tls,
    WithoutTls,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Import {
    #[command(flatten)]
    pub(super) from: From,
    /// docker://host[:port]/repository[:tag], the same without docker://, or oci:DIR[:tag].
    pub(super) destination: String,
    #[command(flatten)]
    pub(super) making: Making,
    /// Whether an image as SOURCE is copied as it is, byte for byte, or its disk taken out for an image of our own.
    ///
    /// auto copies it unless something is asked for that only an image of our own has, as --name or --label; always refuses
    /// that. What is demanded of a disk is demanded either way. docs/registry-source.md has the flags.
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub(super) copy: CopyWhen,
    /// Checksum file that has an entry for the last segment of SOURCE: a URL, a path or file://…. May be repeated.
    ///
    /// In the format of sha256sum or of BSD (ALGO (name) = HEX), at most 1 MiB. Exactly one entry must be for that name.
    #[arg(long, value_name = "URL")]
    pub(super) checksum_file: Vec<String>,
    /// Connections that bring the disk at once, for long ways that one does not fill: 1 to 16. Needs a source with ranges.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(super) source_connections: SourceConnections,
    /// Only find out whether it could succeed: permission to push, source, lengths, TLS. No byte of the disk moves.
    #[arg(long)]
    pub(super) check: bool,
    /// File that keeps what the same command needs to go on after a crash. It is removed once the image stands.
    ///
    /// Needs a source with ranges and a registry. The file is only for its owner: it says where the upload stands.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    pub(super) checkpoint: Option<PathBuf>,
    #[command(flatten)]
    pub(super) metrics: Metrics,
    /// Write the report there, on failure too; - prints it instead of the reference.
    #[arg(long, value_name = "FILE|-")]
    pub(super) report: Option<PathBuf>,
    /// How progress is shown.
    #[arg(long, value_enum, default_value_t = ProgressKind::Auto, value_name = "KIND")]
    pub(super) progress: ProgressKind,
    /// Where --progress json goes instead of standard error: the number of a descriptor that is open for writing.
    #[arg(long, value_name = "N")]
    pub(super) progress_fd: Option<i32>,
}

/// Where an import is watched.
#[derive(Debug, ClapArgs)]
pub(super) struct Metrics {
    /// Where /metrics is served while the import runs, for Prometheus; docs/metrics.md has what is there.
    ///
    /// Without a certificate it is plain HTTP, which a policy document must allow: `--without-tls` in flags.allow.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "check")]
    pub(super) metrics: Option<SocketAddr>,
    /// The certificate of --metrics, with what leads from it to its CA, in PEM form.
    #[arg(long, value_name = "FILE", requires = "metrics", requires = "metrics_key")]
    pub(super) metrics_cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "metrics_cert")]
    pub(super) metrics_key: Option<PathBuf>,
}

/// How a disk becomes an image.
#[derive(Debug, ClapArgs)]
pub(super) struct Making {
    /// Name of the disk in the image [default: last segment of SOURCE, or disk.img].
    #[arg(long, value_name = "FILE")]
    pub(super) name: Option<String>,
    /// Checksum that the bytes received must have; with disk: before it, the disk after the filters. May be repeated.
    ///
    /// ALGO is md5, sha1, sha256, sha512, streebog256 or streebog512. Every one must match before anything is committed.
    #[arg(long, value_name = "[disk:]ALGO:HEX")]
    pub(super) checksum: Vec<String>,
    /// Format that the disk must have, as the probe names it; another ends the run before the disk is sent. Of a wrapper that is
    /// stored as it is, the format inside counts.
    #[arg(long, value_name = "EXPECTED")]
    pub(super) format: Option<String>,
    /// Bytes per second that the transfer does not exceed, on either side: a number, or one with KiB, MiB or GiB.
    ///
    /// Nothing bursts beyond what the rate gives in 50 ms. The report then names it as what limited the transfer.
    #[arg(long, value_name = "RATE", value_parser = size::per_second)]
    pub(super) limit_rate: Option<NonZeroU64>,
    /// Folder in which the disk is kept until the import ends, in a file without a name that only this process can open.
    ///
    /// The source is then read as fast as it gives, whatever the registry does; an upload that breaks goes on from there,
    /// whatever the source is; and the length of the disk need not be known before.
    #[arg(long, value_name = "DIR", requires = "spool_max")]
    pub(super) spool: Option<PathBuf>,
    /// The most bytes that the spool may take: a number, or one with KiB, MiB, GiB or TiB. A larger disk is refused.
    #[arg(long, value_name = "SIZE", value_parser = size::bytes, requires = "spool")]
    pub(super) spool_max: Option<u64>,
    /// Another tag. May be repeated.
    #[arg(long)]
    pub(super) tag: Vec<String>,
    /// Label of the config. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) label: Vec<String>,
    /// Annotation of the manifest; wins over the one that longshore would set. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) annotation: Vec<String>,
    /// Whose media types the image has: oci or docker [default: oci].
    #[arg(long, value_name = "FAMILY")]
    pub(super) media_types: Option<String>,
    /// Owner of the disk in the image, in numbers [default: 107:107, qemu in container disks].
    #[arg(long, value_name = "UID:GID")]
    pub(super) owner: Option<String>,
    /// What the image is for [default: linux/amd64]; of an index that is copied, the only image that is [default: all].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(super) platform: Option<String>,
    /// Filter between the source and the disk: a built-in name, a file or docker://host/repository@sha256:…; auto takes off
    /// what the bytes turn out to be wrapped in [default: none]. May be repeated: the bytes pass the filters in the order in
    /// which they are named.
    #[arg(long, value_name = "auto|none|SPEC")]
    pub(super) filter: Vec<String>,
    /// Framing component: a built-in name, a file or docker://host/repository@sha256:….
    #[arg(long, value_name = "SPEC")]
    pub(super) framing: Option<String>,
    /// Compressor of the layer: a built-in name, a file or docker://host/repository@sha256:… [default: none].
    #[arg(long, value_name = "SPEC")]
    pub(super) compressor: Option<String>,
    /// Credentials for the registry, in docker's config.json format. Credential helpers that it names are asked.
    #[arg(long, value_name = "FILE")]
    pub(super) auth_file: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Serve {
    /// docker://host[:port]/repository[:tag], the same without docker://, or oci:DIR[:tag].
    pub(super) destination: String,
    #[command(flatten)]
    pub(super) making: Making,
    /// Where clients connect.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8444")]
    pub(super) listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are served besides, without TLS and without a token.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) health_listen: Option<SocketAddr>,
    /// The listener's certificate, with what leads from it to its CA, in PEM form.
    #[arg(long, value_name = "FILE", requires = "tls_key", required_unless_present = "without_tls")]
    pub(super) tls_cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(super) tls_key: Option<PathBuf>,
    /// Listen without TLS: disks and the token can be read and changed on the way.
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key"])]
    pub(super) without_tls: bool,
    /// Clients must present a certificate that one of these has issued: a PEM file or a directory of them. May be repeated.
    #[arg(long, value_name = "FILE|DIR", requires = "tls_cert")]
    pub(super) client_ca: Vec<PathBuf>,
    /// Name that the client's certificate must have, as a common name, DNS name or URI; of several, one. May be repeated.
    #[arg(long, value_name = "NAME", requires = "client_ca")]
    pub(super) client_name: Vec<String>,
    /// File with the bearer token that requests must have: 16 to 4096 letters, digits and -._~+/=, on one line.
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Take disks from whoever connects: neither a token nor a client certificate is asked for.
    #[arg(long, conflicts_with_all = ["token_file", "client_ca"])]
    pub(super) anonymous: bool,
    /// Uploads that run at the same time. More than one needs --client-tags.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(super) uploads: NonZeroUsize,
    /// Clients name the tag of their image, in the place of DESTINATION's.
    #[arg(long)]
    pub(super) client_tags: bool,
    /// The most bytes of an upload, as they are sent: a number, or one with KiB, MiB, GiB or TiB.
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    pub(super) max_size: Option<u64>,
    /// How long uploads may go on after the first signal; the second one ends them at once.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    pub(super) drain: Duration,
    /// Take one upload in, and end as its import ends.
    #[arg(long)]
    pub(super) once: bool,
    /// Folder into which the report of each upload is written, as ID.json, on failure too.
    #[arg(long, value_name = "DIR")]
    pub(super) reports: Option<PathBuf>,
    /// Probe component: a built-in name, a file or docker://host/repository@sha256:….
    #[arg(long, value_name = "SPEC")]
    pub(super) probe: Option<String>,
    #[command(flatten)]
    pub(super) policy: PolicyFlags,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Probe {
    #[command(flatten)]
    pub(super) from: From,
    /// As JSON for programs, on failure too; docs/probe.md has its fields.
    #[arg(long)]
    pub(super) json: bool,
    /// Credentials for registries, in docker's config.json format. Credential helpers that it names are asked.
    #[arg(long, value_name = "FILE")]
    pub(super) auth_file: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Inspect {
    /// docker://host[:port]/repository[:tag|@digest], the same without docker://, or oci:DIR[:tag].
    pub(super) reference: String,
    /// As JSON for programs; docs/inspect.md has its fields.
    #[arg(long)]
    pub(super) json: bool,
    /// Credentials for the registry, in docker's config.json format. Credential helpers that it names are asked.
    #[arg(long, value_name = "FILE")]
    pub(super) auth_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) policy: PolicyFlags,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Doctor {
    /// A source, https://… or http://…, or a registry, docker://host[:port]/repository [default: this machine alone].
    #[arg(value_name = "URL|REFERENCE")]
    pub(super) peer: Option<String>,
    /// As JSON for programs; docs/doctor.md has its fields.
    #[arg(long)]
    pub(super) json: bool,
    /// Credentials for the registry, in docker's config.json format.
    #[arg(long, value_name = "FILE")]
    pub(super) auth_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) policy: PolicyFlags,
}

/// SOURCE and how it is read and looked at: the same for every command that does.
#[derive(Debug, ClapArgs)]
pub(super) struct From {
    /// https://… or http://…, a path or file://… (a regular file or a block device), - for standard input, docker://… or
    /// oci:DIR[:tag] (a container disk in a registry or an image layout).
    #[arg(value_name = "SOURCE")]
    pub(super) location: String,
    /// Size of the disk, behind the filters, if nobody says it; a source or filter that says otherwise is refused.
    ///
    /// In bytes, or a whole number with KiB, MiB, GiB or TiB behind it.
    #[arg(long, value_name = "BYTES", value_parser = size::bytes)]
    pub(super) size: Option<u64>,
    /// Source component: a built-in name, a file or docker://host/repository@sha256:….
    #[arg(long, value_name = "SPEC")]
    pub(super) source: Option<String>,
    /// Something the source component is told, as it documents. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) source_option: Vec<String>,
    /// Credentials for SOURCE, as user:password on one line. Sent to SOURCE's own host and port only. Else
    /// LONGSHORE_SOURCE_USERNAME and LONGSHORE_SOURCE_PASSWORD.
    #[arg(long, value_name = "FILE")]
    pub(super) source_credentials: Option<PathBuf>,
    /// Header fields for SOURCE, as `Name: value` lines; # begins a comment. Sent to SOURCE's own host and port only.
    #[arg(long, value_name = "FILE")]
    pub(super) source_header_file: Option<PathBuf>,
    /// Probe component: a built-in name, a file or docker://host/repository@sha256:….
    #[arg(long, value_name = "SPEC")]
    pub(super) probe: Option<String>,
    #[command(flatten)]
    pub(super) policy: PolicyFlags,
}

/// What is allowed.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct PolicyFlags {
    /// Policy document [default: LONGSHORE_POLICY, else /etc/longshore/policy.toml, else what is built in].
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// Certificates to trust besides the system's: a PEM file or a directory of them. May be repeated.
    #[arg(long, value_name = "FILE|DIR")]
    pub(super) ca: Vec<PathBuf>,
    /// Host that may be spoken to without TLS. May be repeated.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(super) plain_http: Vec<String>,
    /// Client certificate for HOST, or for DESTINATION's registry without one. May be repeated, each with its --key.
    #[arg(long, value_name = "[HOST[:PORT]=]FILE")]
    pub(super) cert: Vec<String>,
    /// The key of a client certificate. May be repeated.
    #[arg(long, value_name = "[HOST[:PORT]=]FILE")]
    pub(super) key: Vec<String>,
}

/// Whether an image is copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum CopyWhen {
    /// Where nothing speaks against it.
    #[default]
    Auto,
    /// Or the import is refused.
    Always,
    /// The disk is taken out.
    Never,
}

/// A policy that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum BuiltIn {
    /// What is in force without a document.
    Default,
    /// The same for dvcr-importer and dvcr-uploader.
    Dvcr,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProgressKind {
    /// A bar on a terminal, plain lines elsewhere.
    Auto,
    /// A bar; plain lines where nothing can be redrawn.
    Bar,
    /// A line every few seconds.
    Plain,
    /// JSON lines for programs; docs/progress.md has their fields.
    Json,
    /// Nothing.
    None,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }
}
