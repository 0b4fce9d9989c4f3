//! The TLS policy as rustls configurations, and what was negotiated. The only user of the TLS library.

mod anchors;
mod client;
mod client_name;
mod heard;
mod hello;
mod identity;
mod negotiated;
mod pins;
mod provider;
mod random;
mod self_signed;
mod server;
mod speed;
mod verifier;

pub use client::{TlsClient, TlsSession, check, client_certificate_advice, late_alert};
pub use hello::{MAX_ANSWER, Picked, hello, picked};
pub use identity::ClientCertificate;
pub use negotiated::Negotiated;
pub use provider::in_fips_mode;
pub use random::random;
pub use self_signed::self_signed;
pub use server::{Accepted, TlsServer};
pub use speed::sealed_per_second;
