//! What a handshake settled on, by IANA names.

use rustls::{ClientConnection, HandshakeKind};

/// The parameters of one TLS session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// `TLSv1_3` or `TLSv1_2`.
    pub version: String,
    /// The cipher suite.
    pub suite: String,
    /// The key exchange group; none on a TLS 1.2 resumption, which has no key exchange.
    pub group: Option<String>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

impl Negotiated {
    pub(super) fn of(connection: &ClientConnection) -> Option<Self> {
        Some(Self {
            version: format!("{:?}", connection.protocol_version()?),
            suite: format!("{:?}", connection.negotiated_cipher_suite()?.suite()),
            group: connection.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
            resumed: matches!(connection.handshake_kind(), Some(HandshakeKind::Resumed)),
        })
    }
}
