//! What a handshake settled on, by IANA names.

use rustls::{ClientConnection, CommonState, HandshakeKind, ProtocolVersion};

use super::ClientCertificate;
use crate::observe::{Spoken, spoken};

/// The parameters of one TLS session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: String,
    /// The cipher suite.
    pub suite: String,
    /// The key exchange group; none on a TLS 1.2 resumption, which has no key exchange.
    pub group: Option<String>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Whether the peer's certificate was verified: always, but where the policy says that it is insecure.
    pub verified: bool,
    /// Whether we presented a certificate; none on a resumption, where nobody asks again.
    pub client_certificate: Option<ClientCertificate>,
}

impl Negotiated {
    /// The names of what it speaks.
    #[must_use]
    pub fn spoken(&self) -> Spoken {
        spoken(Some((&self.version, &self.suite, self.group.as_deref())))
    }

    pub(super) fn of(connection: &ClientConnection, asked: ClientCertificate, verified: bool) -> Option<Self> {
        Self::of_state(connection, asked, verified)
    }

    /// The same for either end. `asked` and `verified` are of the end that is a client.
    pub(super) fn of_state(connection: &CommonState, asked: ClientCertificate, verified: bool) -> Option<Self> {
        let version = match connection.protocol_version()? {
            ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
            ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
            other => format!("{other:?}"),
        };
        // The library's names for the suites of TLS 1.3 are its own.
        let suite = format!("{:?}", connection.negotiated_cipher_suite()?.suite()).replace("TLS13_", "TLS_");
        let resumed = matches!(connection.handshake_kind(), Some(HandshakeKind::Resumed));
        Some(Self {
            version,
            suite,
            group: connection.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
            resumed,
            verified,
            client_certificate: (!resumed).then_some(asked),
        })
    }
}
