//! What an import may do, as a value: TLS, egress, components, destinations, demands, limits. Pure: no I/O.
//!
//! A [`Policy`] is the built-in default (DESIGN §8) or a document parsed once ([`Policy::parse`]), and what the command line
//! adds ([`Policy::with_flags`]). A document holds against whoever types the command: flags that would widen it are refused
//! unless it allows them.

mod address;
mod components;
mod destinations;
mod document;
mod egress;
mod flags;
mod host;
mod known;
mod limits;
mod listener;
mod names;
mod no_proxy;
mod origin;
mod proxy;
mod range;
mod require;
mod show;
mod site;
mod tls;

use std::sync::Arc;

pub use components::{
    ComponentDenied, ComponentKind, ComponentOrigin, ComponentRule, Components, Grant, MalformedOptionKey, OptionKey,
    RequestDenied, RequestMethod,
};
pub use destinations::{
    DestinationDenied, Destinations, MalformedDestination, RepositoryPattern, RepositoryRule, TagPattern,
};
pub use document::{Files, Invalid, KEYS, table_of_keys};
pub use egress::{AddressDenied, Egress, OriginDenied, Provenance, Rules, Side};
pub use flags::{FlagDenied, Flags};
pub use host::{HostPattern, MalformedHostPattern};
pub use known::{FORMATS, HAZARDS};
pub use limits::Limits;
pub use listener::{ClientDemand, ListenerTls, Withheld};
pub use no_proxy::{MalformedNoProxy, NoProxy};
pub use origin::{Authority, MalformedAuthority, MalformedOrigin, Origin, Scheme};
pub use proxy::{MalformedProxy, Proxies, Proxy, ProxyCredentials, ProxyUse};
pub use range::{AddressRange, MalformedAddressRange};
pub use require::{ChecksumName, HazardPattern, MalformedProbeName, ProbeName, Require};
pub use site::{Rule, Site, Sited, Sites};
pub use tls::{ClientIdentity, FlagIdentity, Group, HostTls, Pins, Suite, TlsPolicy, Trust, TrustAnchor, Version};

/// The effective policy of one run.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// TLS, the same for every connection but where it names a host.
    pub tls: TlsPolicy,
    /// Where each side may connect.
    pub egress: Egress,
    /// Which components may run, and what each is granted.
    pub components: Components,
    /// Where images may be put.
    pub destinations: Destinations,
    /// What is demanded of a disk before it is pushed.
    pub require: Require,
    /// Times and sizes.
    pub limits: Limits,
    /// Flags that may add to a document.
    pub allowed_flags: Vec<Sited<AllowedFlag>>,
    /// The file of the document in force; none is the built-in default.
    pub document: Option<Arc<str>>,
    /// Where single values come from.
    pub sites: Sites,
}

/// A flag that would widen what a document says, unless the document allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AllowedFlag {
    /// `--ca`.
    Ca,
    /// `--plain-http`.
    PlainHttp,
    /// `--without-tls`.
    WithoutTls,
}

impl AllowedFlag {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Ca, Self::PlainHttp, Self::WithoutTls];

    /// As it is typed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ca => "--ca",
            Self::PlainHttp => "--plain-http",
            Self::WithoutTls => "--without-tls",
        }
    }
}
