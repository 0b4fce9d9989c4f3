//! The report: one JSON document, the same fields on success and failure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::process::Process;

/// The version of the document.
pub const SCHEMA: &str = "longshore.report/v1";

/// What an import did. Absent values are null.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The program's version.
    pub version: &'static str,
    /// `done`, `checked` or `failed`.
    pub outcome: &'static str,
    /// Why it failed.
    pub error: Option<ErrorReport>,
    /// The source.
    pub source: SourceReport,
    /// The disk.
    pub disk: DiskReport,
    /// What was found out about the destination before bytes moved.
    pub preflight: PreflightReport,
    /// The image.
    pub image: ImageReport,
    /// What was copied as it is; null if an image was made.
    pub copy: Option<CopyReport>,
    /// The transfer.
    pub transfer: TransferReport,
    /// Every connection, in order, up to 256 of each side.
    pub connections: Vec<ConnectionReport>,
    /// How many more there were.
    pub connections_left_out: u64,
    /// The stages, upstream first.
    pub stages: Vec<StageReport>,
    /// What the CPU was spent on, dearest first.
    pub work: Vec<WorkReport>,
    /// Whom the transfer waited for, longest first.
    pub waits: Vec<WaitReport>,
    /// The process.
    pub process: Process,
    /// What limited the transfer; null if it never began.
    pub bottleneck: Option<BottleneckReport>,
}

/// A failure.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorReport {
    /// The stable code.
    pub code: &'static str,
    /// The exit code of the process.
    pub exit: u8,
    /// Where in the flow.
    pub stage: &'static str,
    /// Whose fault.
    pub blame: &'static str,
    /// Whether the same command may succeed later.
    pub retryable: bool,
    /// What happened.
    pub message: String,
    /// Other accounts and causes, outermost first.
    pub causes: Vec<String>,
    /// What is left at the destination.
    pub left: Vec<String>,
    /// Advice.
    pub hint: Option<String>,
}

/// The source.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SourceReport {
    /// The location, without secrets.
    pub location: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// ETag, date or the like.
    pub revision: Option<String>,
    /// `once`, `restart` or `ranged`.
    pub access: Option<&'static str>,
    /// Checksums over the bytes received.
    pub checksums: ChecksumsReport,
}

/// Checksums, as `ALGO:HEX`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChecksumsReport {
    /// Demanded by the user.
    pub demanded: Vec<String>,
    /// Computed, for those demanded.
    pub computed: Vec<String>,
}

/// The disk.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DiskReport {
    /// The name in the layer.
    pub name: Option<String>,
    /// Checksums over the disk after the filters.
    pub checksums: ChecksumsReport,
    /// The format.
    pub format: Option<String>,
    /// Bytes as a guest machine would see them.
    pub virtual_size: Option<u64>,
    /// What is dangerous about it; null if nobody got to look.
    pub hazards: Option<Vec<HazardReport>>,
    /// Details, as name and value.
    pub details: Option<Vec<(String, String)>>,
    /// What is in it, if it is a wrapper; null if it is none.
    pub content: Option<ContentReport>,
}

/// What is in a wrapper.
#[derive(Clone, Debug, Serialize)]
pub struct ContentReport {
    /// Whether a probe has seen it.
    pub inspected: bool,
    /// Why not; null if one has.
    pub reason: Option<String>,
    /// Whether all of it was looked at, to the end of every wrapper: nothing else is in them, and nothing is behind them.
    pub whole: bool,
    /// The formats of the wrappers around it, outermost first.
    pub wrappers: Vec<String>,
    /// Its format.
    pub format: Option<String>,
    /// Bytes as a guest machine would see them; null if nothing proves them.
    pub virtual_size: Option<u64>,
    /// What is dangerous about it, and about wrappers within the outermost.
    pub hazards: Vec<HazardReport>,
    /// Details, as name and value.
    pub details: Vec<(String, String)>,
    /// The filters that looked into the wrappers, outermost first.
    pub filters: Vec<ComponentReport>,
}

/// A hazard.
#[derive(Clone, Debug, Serialize)]
pub struct HazardReport {
    /// The stable name.
    pub code: String,
    /// `note`, `warning` or `refuse`.
    pub severity: &'static str,
    /// One sentence.
    pub message: String,
}

/// The destination before bytes moved.
#[derive(Clone, Debug, Serialize)]
pub struct PreflightReport {
    /// Whether it let us push: an upload session opened, or the layout can be written.
    pub destination_opened: bool,
    /// Bytes of the chunks it gets if one request for the whole layer does not get through; null if it takes none.
    pub chunk_bytes: Option<u64>,
    /// The least it takes of chunks, if it says so.
    pub least_chunk_bytes: Option<u64>,
}

/// The image.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ImageReport {
    /// `repository@digest`, once it stands there.
    pub reference: Option<String>,
    /// Tags that point at it.
    pub tags: Vec<String>,
    /// The manifest's digest.
    pub digest: Option<String>,
    /// The manifest's media type.
    pub media_type: Option<String>,
    /// The config's digest.
    pub config_digest: Option<String>,
    /// The layer's digest.
    pub layer_digest: Option<String>,
    /// The layer's media type.
    pub layer_media_type: Option<String>,
    /// The layer's bytes.
    pub layer_size: Option<u64>,
}

/// An image, or an index with all its images, that is the source's own.
#[derive(Clone, Debug, Serialize)]
pub struct CopyReport {
    /// `image` or `index`.
    pub kind: &'static str,
    /// The images with their disks, as they were copied.
    pub images: Vec<CopiedImageReport>,
}

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub struct CopiedImageReport {
    /// The manifest's digest.
    pub digest: String,
    /// `os/architecture`, as its config says.
    pub platform: Option<String>,
    /// The disk's name in the layer.
    pub disk: String,
    /// The disk's format, as the probe found it.
    pub format: String,
    /// The layer's digest.
    pub layer_digest: String,
    /// The layer's bytes.
    pub layer_size: u64,
    /// How the layer got there: `sent`, `mounted` or `there`.
    pub layer: &'static str,
}

/// The transfer.
#[derive(Clone, Debug, Serialize)]
pub struct TransferReport {
    /// Bytes received from the source.
    pub bytes_received: u64,
    /// Bytes of the layer handed to the destination.
    pub bytes_sent: u64,
    /// Seconds from start to end.
    pub seconds: f64,
    /// Seconds of them before bytes moved.
    pub opening_seconds: f64,
    /// Seconds of them in which bytes moved.
    pub transferring_seconds: f64,
    /// Seconds of them after the last byte was sent: committing and publishing.
    pub finishing_seconds: f64,
    /// Bytes received per second, on average.
    pub average_rate: Option<f64>,
    /// How often it was tried.
    pub attempts: u32,
    /// How often it was resumed.
    pub resumes: u32,
    /// How often the upload began again at its first byte, in another session.
    pub restarts: u32,
    /// Bytes sent more than once.
    pub bytes_sent_twice: u64,
    /// How often the upload to a registry went which way: the transitions of `docs/uploads.md`, those that were taken.
    pub upload: BTreeMap<&'static str, u32>,
    /// Bytes that the spool took in; null without one.
    pub bytes_spooled: Option<u64>,
    /// Bytes of the layer that the registry had from an earlier run, by a checkpoint; null if this run began with the first.
    pub continued_from: Option<u64>,
}

/// A connection.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionReport {
    /// `source` or `registry`.
    pub side: &'static str,
    /// Scheme, host and port.
    pub origin: String,
    /// The address dialled: the proxy's, if there is one.
    pub address: String,
    /// The proxy it went over; null if it was direct.
    pub proxy: Option<ProxyReport>,
    /// What TLS settled on; null on plain HTTP, and where there was no session.
    pub tls: Option<TlsReport>,
    /// The code of the error for which there was no TLS session; null if there was one, and on plain HTTP.
    pub failed: Option<&'static str>,
}

/// The proxy of a connection.
#[derive(Clone, Debug, Serialize)]
pub struct ProxyReport {
    /// Scheme, host and port.
    pub origin: String,
    /// What TLS with the proxy itself settled on; null for an `http` proxy.
    pub tls: Option<TlsReport>,
}

/// A TLS session.
#[derive(Clone, Debug, Serialize)]
pub struct TlsReport {
    /// The version.
    pub version: String,
    /// The cipher suite.
    pub cipher_suite: String,
    /// The key exchange group; null on a TLS 1.2 resumption.
    pub key_exchange_group: Option<String>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Whether the peer's certificate was verified; false only where the policy says `insecure-skip-verification`.
    pub verified: bool,
    /// `not-asked`, `not-presented` or `presented`; null on a resumption.
    pub client_certificate: Option<&'static str>,
    /// How long the handshake took.
    pub handshake_seconds: Option<f64>,
}

/// A stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageReport {
    /// `source`, `filter` (each of them, in order), `probe`, `framing`, `compressor`, `upload`.
    pub stage: &'static str,
    /// The component that did it; null for the host's own.
    pub component: Option<ComponentReport>,
    /// Bytes that came in.
    pub bytes_in: Option<u64>,
    /// Bytes that went out.
    pub bytes_out: Option<u64>,
    /// Seconds it was working.
    pub busy_seconds: Option<f64>,
    /// Seconds it had nothing to work on.
    pub waiting_for_input_seconds: Option<f64>,
    /// Seconds nobody took what it had.
    pub waiting_for_output_seconds: Option<f64>,
    /// CPU seconds.
    pub cpu_seconds: Option<f64>,
}

/// Some work.
#[derive(Clone, Debug, Serialize)]
pub struct WorkReport {
    /// `digest`, `checksums`, `tls`, `sockets`, the kind of a component, `rest` of the flow's thread, or other `threads`.
    pub task: &'static str,
    /// `source` or `registry`, of what is done for connections.
    pub side: Option<&'static str>,
    /// Algorithms, cipher suites or the component's name.
    pub names: Vec<String>,
    /// Seconds the flow's thread worked on it, by the clock.
    pub busy_seconds: f64,
    /// CPU seconds, of threads beside the flow's too.
    pub cpu_seconds: f64,
}

/// A wait.
#[derive(Clone, Debug, Serialize)]
pub struct WaitReport {
    /// Who was waited for.
    #[serde(rename = "for")]
    pub whom: &'static str,
    /// Seconds in which nothing else was left to do.
    pub seconds: f64,
}

/// What limited the transfer.
#[derive(Clone, Debug, Serialize)]
pub struct BottleneckReport {
    /// The culprit.
    #[serde(rename = "where")]
    pub culprit: &'static str,
    /// One sentence of evidence.
    pub evidence: String,
    /// One sentence of advice.
    pub advice: String,
    /// Bytes per second that the source gives at least; null where that could not be seen.
    pub source_rate: Option<f64>,
    /// Bytes per second that the registry takes at least.
    pub registry_rate: Option<f64>,
    /// Bytes per second that this process could move.
    pub local_rate: Option<f64>,
}

/// A component.
#[derive(Clone, Debug, Serialize)]
pub struct ComponentReport {
    /// The name it goes by.
    pub name: String,
    /// Its version; null if it never ran.
    pub version: Option<String>,
    /// The digest of its bytes.
    pub digest: String,
    /// `built-in` or a file.
    pub origin: String,
}
