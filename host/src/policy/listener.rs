//! As whom a listener presents itself, and whose certificates it wants to see. What it speaks is `tls`, as for every connection.

use super::{ClientIdentity, TrustAnchor};

/// TLS of a listener.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// The listener's own certificate and key.
    pub identity: ClientIdentity,
    /// What is wanted of clients; none asks them for no certificate.
    pub clients: Option<ClientDemand>,
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
