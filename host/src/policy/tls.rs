//! TLS as policy: what is offered, to whom it is trusted, and as whom we present ourselves.

use std::fmt;

use super::{Authority, HostPattern, Origin, Rule, Side, Site, Sited};
use crate::oci::Digest;

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
    Tls13Chacha20Poly1305Sha256,
    EcdheEcdsaChacha20Poly1305Sha256,
    EcdheRsaChacha20Poly1305Sha256,
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

/// A file of PEM certificates that are trusted, already read.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustAnchor {
    /// The file, for messages.
    pub file: String,
    /// Its content.
    pub pem: Vec<u8>,
    /// Who named it.
    pub site: Site,
    /// The side whose peers are trusted to it; none is both.
    pub side: Option<Side>,
}

/// A client certificate and its key, already read.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate's file, for messages.
    pub certificate_file: String,
    /// The certificate and what leads from it to its CA, as PEM.
    pub certificate: Vec<u8>,
    /// The key's file, for messages.
    pub key_file: String,
    /// The key, as PEM. Never shown.
    pub key: Vec<u8>,
    /// Who named it.
    pub site: Site,
}

/// What is different for some hosts: an entry `[[tls.host]]`.
#[derive(Clone, Debug)]
pub struct HostTls {
    /// Which.
    pub hosts: Sited<HostPattern>,
    /// The side that it is for; none is both.
    pub side: Option<Side>,
    /// Whom they are trusted to.
    pub trust: Trust,
    /// Keys of which one must be on the path of their certificates, in the place of those for every host.
    pub pins: Vec<Sited<Digest>>,
    /// As whom we present ourselves to them, if they ask.
    pub identity: Option<ClientIdentity>,
}

/// Whom certificates are trusted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// As every host.
    AsUsual,
    /// These anchors and no others.
    Only(Vec<TrustAnchor>),
    /// `insecure-skip-verification`: whoever answers. From there.
    Anybody(Site),
}

/// A client certificate from the command line.
#[derive(Clone, Debug)]
pub struct FlagIdentity {
    /// The host it is for.
    pub host: Authority,
    /// The side it is for; none is both.
    pub side: Option<Side>,
    /// The certificate.
    pub identity: ClientIdentity,
}

/// The keys that are pinned for one host, and the key of the policy that says so.
#[derive(Clone, Debug)]
pub struct Pins {
    /// SHA-256 of their SubjectPublicKeyInfo in DER, at least one.
    pub keys: Vec<Sited<Digest>>,
    key: &'static str,
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
    /// The keys that decided versions, suites and groups, at least one.
    pub offered_by: Vec<Rule>,
    /// Whether a session may be resumed by a later connection.
    pub session_tickets: bool,
    /// Who demands that the cryptography is that of a FIPS module, if somebody does.
    pub fips: Option<Site>,
    /// Whether the system's trust store counts.
    pub system_store: bool,
    /// Trust anchors besides it.
    pub anchors: Vec<TrustAnchor>,
    /// Keys of which one must be on the verified path of every certificate: SHA-256 of their SubjectPublicKeyInfo in DER.
    pub pins: Vec<Sited<Digest>>,
    /// What is different for some hosts; the first entry that covers an origin on its side counts, and no other.
    pub hosts: Vec<HostTls>,
    /// Client certificates from the command line; they go before those of `hosts`.
    pub identities: Vec<FlagIdentity>,
}

impl TlsPolicy {
    /// What is different for that origin on that side.
    #[must_use]
    pub fn entry(&self, side: Side, origin: &Origin) -> Option<&HostTls> {
        self.hosts.get(self.entry_at(side, origin)?)
    }

    /// Where in `hosts` that is.
    #[must_use]
    pub fn entry_at(&self, side: Side, origin: &Origin) -> Option<usize> {
        self.hosts.iter().position(|entry| entry.is_for(Some(side)) && entry.hosts.value.covers(origin))
    }

    /// What is pinned for that origin on that side; nothing where nobody's certificate is verified.
    #[must_use]
    pub fn pins(&self, side: Side, origin: &Origin) -> Option<Pins> {
        let (keys, key) = match self.entry(side, origin) {
            Some(HostTls { trust: Trust::Anybody(_), .. }) => return None,
            Some(entry) if !entry.pins.is_empty() => (&entry.pins, "tls.host.pins"),
            Some(_) | None => (&self.pins, "tls.pins"),
        };
        (!keys.is_empty()).then(|| Pins { keys: keys.clone(), key })
    }

    /// The client certificate for that origin on that side.
    #[must_use]
    pub fn identity(&self, side: Side, origin: &Origin) -> Option<&ClientIdentity> {
        let meant = |flag: &&FlagIdentity| flag.side.is_none_or(|meant| meant == side) && flag.host.covers(origin);
        let flag = self.identities.iter().find(meant).map(|flag| &flag.identity);
        flag.or_else(|| self.entry(side, origin)?.identity.as_ref())
    }
}

impl HostTls {
    /// Whether it holds on that side; without one, on both.
    pub(super) fn is_for(&self, side: Option<Side>) -> bool {
        self.side.is_none() || self.side == side
    }
}

impl Pins {
    /// The rule that pins.
    #[must_use]
    pub fn rule(&self) -> Rule {
        Rule { key: self.key, site: self.keys.first().map_or(Site::BuiltIn, |pin| pin.site.clone()) }
    }
}

impl Default for TlsPolicy {
    /// The profile `aes-gcm`: AES-GCM suites only, which every CPU in question accelerates.
    fn default() -> Self {
        Self {
            versions: Version::ALL.to_vec(),
            suites: Suite::AES_GCM.to_vec(),
            groups: Group::ALL.to_vec(),
            offered_by: vec![Rule { key: "tls.profile", site: Site::BuiltIn }],
            session_tickets: true,
            fips: None,
            system_store: true,
            anchors: Vec::new(),
            pins: Vec::new(),
            hosts: Vec::new(),
            identities: Vec::new(),
        }
    }
}

impl Version {
    /// All, in order of preference.
    pub const ALL: &'static [Self] = &[Self::Tls13, Self::Tls12];

    /// The name in a document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

impl Suite {
    /// What every profile offers, in order of preference: CPUs have instructions for it.
    pub const AES_GCM: &'static [Self] = &[
        Self::Tls13Aes128GcmSha256,
        Self::Tls13Aes256GcmSha384,
        Self::EcdheEcdsaAes128GcmSha256,
        Self::EcdheRsaAes128GcmSha256,
        Self::EcdheEcdsaAes256GcmSha384,
        Self::EcdheRsaAes256GcmSha384,
    ];

    /// All that a document may list: besides, what only software computes, for a peer that has nothing else.
    pub const ALL: &'static [Self] = &[
        Self::Tls13Aes128GcmSha256,
        Self::Tls13Aes256GcmSha384,
        Self::EcdheEcdsaAes128GcmSha256,
        Self::EcdheRsaAes128GcmSha256,
        Self::EcdheEcdsaAes256GcmSha384,
        Self::EcdheRsaAes256GcmSha384,
        Self::Tls13Chacha20Poly1305Sha256,
        Self::EcdheEcdsaChacha20Poly1305Sha256,
        Self::EcdheRsaChacha20Poly1305Sha256,
    ];

    /// The IANA name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls13Aes128GcmSha256 => "TLS_AES_128_GCM_SHA256",
            Self::Tls13Aes256GcmSha384 => "TLS_AES_256_GCM_SHA384",
            Self::EcdheEcdsaAes128GcmSha256 => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            Self::EcdheEcdsaAes256GcmSha384 => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            Self::EcdheRsaAes128GcmSha256 => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            Self::EcdheRsaAes256GcmSha384 => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            Self::Tls13Chacha20Poly1305Sha256 => "TLS_CHACHA20_POLY1305_SHA256",
            Self::EcdheEcdsaChacha20Poly1305Sha256 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            Self::EcdheRsaChacha20Poly1305Sha256 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        }
    }

    /// Whether FIPS 140-3 approves of it (SP 800-52r2 §3.3.1): AES-GCM, but not ChaCha20.
    #[must_use]
    pub fn is_approved(self) -> bool {
        Self::AES_GCM.contains(&self)
    }

    /// The version it belongs to: TLS 1.3 has suites of its own.
    #[must_use]
    pub const fn version(self) -> Version {
        match self {
            Self::Tls13Aes128GcmSha256 | Self::Tls13Aes256GcmSha384 | Self::Tls13Chacha20Poly1305Sha256 => {
                Version::Tls13
            }
            Self::EcdheEcdsaAes128GcmSha256
            | Self::EcdheEcdsaAes256GcmSha384
            | Self::EcdheRsaAes128GcmSha256
            | Self::EcdheRsaAes256GcmSha384
            | Self::EcdheEcdsaChacha20Poly1305Sha256
            | Self::EcdheRsaChacha20Poly1305Sha256 => Version::Tls12,
        }
    }
}

impl Group {
    /// All that are ever offered, in order of preference.
    pub const ALL: &'static [Self] = &[Self::X25519MlKem768, Self::X25519, Self::Secp256r1, Self::Secp384r1];

    /// The IANA name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X25519MlKem768 => "X25519MLKEM768",
            Self::X25519 => "x25519",
            Self::Secp256r1 => "secp256r1",
            Self::Secp384r1 => "secp384r1",
        }
    }

    /// Whether FIPS 140-3 approves of it: the curves of SP 800-186 that both ends can agree on, and ML-KEM (FIPS 203) with
    /// whatever is agreed on besides (SP 800-56C r2 §2).
    #[must_use]
    pub fn is_approved(self) -> bool {
        self != Self::X25519
    }

    /// Whether TLS of that version has it: the hybrids came with TLS 1.3.
    #[must_use]
    pub fn is_of(self, version: Version) -> bool {
        version == Version::Tls13 || self != Self::X25519MlKem768
    }
}

impl fmt::Debug for TrustAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustAnchor").field("file", &self.file).finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity")
            .field("certificate_file", &self.certificate_file)
            .field("key_file", &self.key_file)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(file: &str) -> ClientIdentity {
        let (certificate, key) = (Vec::new(), b"hunter2".to_vec());
        let (certificate_file, key_file) = (file.to_owned(), "key".to_owned());
        ClientIdentity { certificate_file, certificate, key_file, key, site: Site::BuiltIn }
    }

    #[test]
    fn the_client_certificate_is_the_flags_then_the_entrys() {
        let flag =
            |host: &str, side, file| FlagIdentity { host: host.parse().unwrap(), side, identity: identity(file) };
        let entry = HostTls {
            hosts: Sited::new("*.example".parse().unwrap(), Site::BuiltIn),
            side: None,
            pins: Vec::new(),
            trust: Trust::AsUsual,
            identity: Some(identity("entry")),
        };
        let policy = TlsPolicy {
            hosts: vec![entry],
            identities: vec![flag("r.example:5000", Some(Side::Registry), "flag"), flag("other", None, "both")],
            ..TlsPolicy::default()
        };
        let chosen = |side, url: &str| {
            let origin = Origin::of(&url::Url::parse(url).unwrap()).unwrap();
            policy.identity(side, &origin).map(|identity| identity.certificate_file.clone())
        };
        assert_eq!(chosen(Side::Registry, "https://r.example:5000/").as_deref(), Some("flag"));
        assert_eq!(chosen(Side::Source, "https://r.example:5000/").as_deref(), Some("entry"));
        assert_eq!(chosen(Side::Registry, "https://r.example/").as_deref(), Some("entry"));
        assert_eq!(chosen(Side::Source, "https://other:1/").as_deref(), Some("both"));
        assert_eq!(chosen(Side::Source, "https://third/"), None);
    }

    #[test]
    fn a_key_is_not_shown() {
        assert!(!format!("{:?}", identity("a")).contains("104"), "no bytes of hunter2");
    }
}
