//! As whom a listener presents itself, and whose certificates it wants to see. What it speaks is `tls`, as for every connection,
//! or less of it.

use super::{ClientIdentity, Suite, TlsPolicy, TrustAnchor, Version};

/// TLS of a listener.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// The listener's own certificate and key.
    pub identity: ClientIdentity,
    /// What is wanted of clients; none asks them for no certificate.
    pub clients: Option<ClientDemand>,
    /// Of what `tls` offers, what this listener leaves out.
    pub without: Withheld,
}

/// Versions and suites that a listener does not speak although `tls` does.
#[derive(Clone, Debug, Default)]
pub struct Withheld {
    /// Versions.
    pub versions: Vec<Version>,
    /// Suites.
    pub suites: Vec<Suite>,
}

/// Clients must present a certificate that leads to one of these anchors and has one of these names.
#[derive(Clone, Debug)]
pub struct ClientDemand {
    /// Whom client certificates are trusted to. Neither the system's store nor `tls.ca` counts.
    pub anchors: Vec<TrustAnchor>,
    /// Names of which the certificate must have one, as a common name of its subject or as a DNS name or URI among its
    /// alternative names; with none, whatever the anchors have issued will do.
    pub names: Vec<String>,
}

impl ListenerTls {
    /// Of that identity, for whoever comes.
    #[must_use]
    pub fn of(identity: ClientIdentity) -> Self {
        Self { identity, clients: None, without: Withheld::default() }
    }

    /// What it speaks of what `tls` offers.
    #[must_use]
    pub fn spoken(&self, tls: &TlsPolicy) -> TlsPolicy {
        let mut tls = tls.clone();
        tls.suites.retain(|suite| !self.without.suites.contains(suite));
        // A version of which no suite is left is none.
        tls.versions.retain(|version| {
            !self.without.versions.contains(version) && tls.suites.iter().any(|suite| suite.version() == *version)
        });
        tls.suites.retain(|suite| tls.versions.contains(&suite.version()));
        tls
    }
}

#[cfg(test)]
mod tests {
    use super::super::Site;
    use super::*;

    #[test]
    fn a_listener_may_speak_less() {
        let nobody = || ClientIdentity {
            certificate_file: String::new(),
            certificate: Vec::new(),
            key_file: String::new(),
            key: Vec::new(),
            site: Site::BuiltIn,
        };
        let spoken = |versions: &[Version], suites: &[Suite]| {
            let without = Withheld { versions: versions.to_vec(), suites: suites.to_vec() };
            let tls = ListenerTls { without, ..ListenerTls::of(nobody()) }.spoken(&TlsPolicy::default());
            (tls.versions.len(), tls.suites.len())
        };
        assert_eq!(spoken(&[], &[]), (2, 6));
        assert_eq!(spoken(&[Version::Tls12], &[]), (1, 2));
        assert_eq!(spoken(&[], &[Suite::Tls13Aes128GcmSha256, Suite::Tls13Aes256GcmSha384]), (1, 4));
        assert_eq!(spoken(&[Version::Tls12], &Suite::AES_GCM[..2]), (0, 0));
    }
}
