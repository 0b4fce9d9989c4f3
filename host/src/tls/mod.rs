//! The TLS policy as rustls configurations, and what was negotiated. The only user of the TLS library.

mod anchors;
mod client;
mod negotiated;
mod provider;

pub use client::TlsClient;
pub use negotiated::Negotiated;
pub use tokio_rustls::client::TlsStream;
