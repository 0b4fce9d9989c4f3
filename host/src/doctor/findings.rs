//! What was found, as one JSON document.

use serde::Serialize;

/// The version of the document.
pub const SCHEMA: &str = "longshore.doctor/v1";

/// The document. Absent values are null.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The program's version.
    pub version: &'static str,
    /// This machine.
    pub machine: MachineFound,
    /// The peer, if one was named.
    pub peer: Option<PeerFound>,
    /// What would end an import.
    pub error: Option<FailureFound>,
    /// All of it in one line.
    pub verdict: String,
}

/// This machine.
#[derive(Clone, Debug, Serialize)]
pub struct MachineFound {
    /// The architecture the program was built for.
    pub architecture: &'static str,
    /// CPUs this process may run on at once; null if the system does not tell.
    pub cpus: Option<usize>,
    /// Instructions for AES, GCM and SHA-2 that the CPU has, by the vendor's names.
    pub cpu_features: Vec<&'static str>,
    /// Whether AES-GCM is done by such instructions; null on an architecture that is not known here.
    pub aes_gcm_in_hardware: Option<bool>,
    /// Whether the cryptography of TLS is that of a FIPS module.
    pub fips_module: bool,
    /// CPUs the cgroup may use on average; null without a quota.
    pub cgroup_quota_cpus: Option<f64>,
    /// Bytes that one CPU seals in a second, for each suite of the policy, in its order.
    pub suites: Vec<Speed>,
    /// Bytes that one CPU hashes in a second.
    pub sha256_bytes_per_second: f64,
}

/// The speed of a suite.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    /// By its IANA name.
    pub cipher_suite: &'static str,
    /// Null if it does not work here.
    pub bytes_per_second: Option<f64>,
}

/// A peer.
#[derive(Clone, Debug, Serialize)]
pub struct PeerFound {
    /// Scheme, host and port.
    pub origin: String,
    /// The address that answered: the proxy's, if there is one.
    pub address: Option<String>,
    /// The proxy that leads there: scheme, host and port; null if the connection is direct.
    pub proxy: Option<String>,
    /// What TLS settles on under the policy; null on plain HTTP.
    pub tls: Option<TlsFound>,
    /// What it picks where everything is offered; null on plain HTTP.
    pub of_everything: Option<Everything>,
    /// What it can do as a registry; null for a source.
    pub registry: Option<RegistryFound>,
}

/// A TLS session under the policy.
#[derive(Clone, Debug, Serialize)]
pub struct TlsFound {
    /// The version.
    pub version: String,
    /// The cipher suite.
    pub cipher_suite: String,
    /// The key exchange group.
    pub key_exchange_group: Option<String>,
    /// How long the handshake took.
    pub handshake_seconds: f64,
}

/// What a peer picks from everything.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Everything {
    /// The version.
    pub version: Option<String>,
    /// The cipher suite.
    pub cipher_suite: Option<String>,
    /// The key exchange group; TLS 1.3 only.
    pub key_exchange_group: Option<String>,
    /// By what it refused all of it.
    pub refused: Option<String>,
}

/// A registry.
#[derive(Clone, Debug, Serialize)]
pub struct RegistryFound {
    /// Its `Docker-Distribution-API-Version`.
    pub api_version: Option<String>,
    /// The schemes by which it wants credentials.
    pub challenges: Vec<String>,
    /// Whether it wants any.
    pub wants_credentials: bool,
    /// Whether it opens upload sessions; null if it was not asked, for want of credentials.
    pub opens_sessions: Option<bool>,
    /// The least bytes of a chunk, if it says so.
    pub chunk_min_bytes: Option<u64>,
    /// What is left of the session that was opened.
    pub left: Option<String>,
}

/// An error.
#[derive(Clone, Debug, Serialize)]
pub struct FailureFound {
    /// The stable code.
    pub code: &'static str,
    /// What happened.
    pub message: String,
    /// Advice.
    pub hint: Option<String>,
}
