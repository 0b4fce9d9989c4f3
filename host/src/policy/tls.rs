//! TLS as policy: what is offered, to whom it is trusted.

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A cipher suite, by its IANA name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the IANA names say it")]
pub enum Suite {
    Tls13Aes128GcmSha256,
    Tls13Aes256GcmSha384,
    EcdheEcdsaAes128GcmSha256,
    EcdheEcdsaAes256GcmSha384,
    EcdheRsaAes128GcmSha256,
    EcdheRsaAes256GcmSha384,
}

/// A key exchange group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the IANA names say it")]
pub enum Group {
    X25519MlKem768,
    X25519,
    Secp256r1,
    Secp384r1,
}

/// A file of PEM certificates that are trusted besides the system's, already read.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustAnchor {
    /// Where it came from, for messages.
    pub origin: String,
    /// Its content.
    pub pem: Vec<u8>,
}

/// What is offered and whom it is trusted to. In order of preference.
#[derive(Clone, Debug)]
pub struct TlsPolicy {
    /// Versions.
    pub versions: Vec<Version>,
    /// Cipher suites.
    pub suites: Vec<Suite>,
    /// Key exchange groups.
    pub groups: Vec<Group>,
    /// Trust anchors besides the system store.
    pub anchors: Vec<TrustAnchor>,
}

impl Default for TlsPolicy {
    /// The profile `aes-gcm`: AES-GCM suites only, which every CPU in question accelerates.
    fn default() -> Self {
        Self {
            versions: vec![Version::Tls13, Version::Tls12],
            suites: vec![
                Suite::Tls13Aes128GcmSha256,
                Suite::Tls13Aes256GcmSha384,
                Suite::EcdheEcdsaAes128GcmSha256,
                Suite::EcdheRsaAes128GcmSha256,
                Suite::EcdheEcdsaAes256GcmSha384,
                Suite::EcdheRsaAes256GcmSha384,
            ],
            groups: vec![Group::X25519MlKem768, Group::X25519, Group::Secp256r1, Group::Secp384r1],
            anchors: Vec::new(),
        }
    }
}

impl std::fmt::Debug for TrustAnchor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrustAnchor").field("origin", &self.origin).finish_non_exhaustive()
    }
}
