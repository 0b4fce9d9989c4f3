//! What an import may do, as a value: TLS, egress, components, limits. Pure: no I/O.
//!
//! The policy document is not read yet; the built-in default (DESIGN §8) and what the command line adds to it are all
//! there is. A policy that is named is refused, never ignored.

mod egress;
mod limits;
mod origin;
mod tls;

pub use egress::{AddressDenied, Egress, Provenance, Side};
pub use limits::Limits;
pub use origin::{Authority, MalformedAuthority, MalformedOrigin, Origin, Scheme};
pub use tls::{Group, Suite, TlsPolicy, TrustAnchor, Version};

/// The effective policy of one run.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// TLS, the same for every connection.
    pub tls: TlsPolicy,
    /// Where each side may connect.
    pub egress: Egress,
    /// Times and sizes.
    pub limits: Limits,
}
