//! The TLS policy as rustls configurations, and what was negotiated. The only user of the TLS library.

mod anchors;
mod client;
mod identity;
mod negotiated;
mod provider;
mod verifier;

pub use client::{TlsClient, check, client_certificate_advice, late_alert};
pub use identity::ClientCertificate;
pub use negotiated::Negotiated;
pub use tokio_rustls::client::TlsStream;
