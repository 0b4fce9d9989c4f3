//! Connections under egress policy, the one HTTP/1.1 client, and listeners. The only opener of sockets.
//!
//! `hyper` speaks the protocol and keeps connections; dialling is ours, so that every attempt is checked against the policy
//! between resolving and connecting, and every TLS session is on record.

mod answering;
mod body;
mod carried;
mod client;
mod connector;
mod dial;
mod fields;
mod grant;
mod greet;
mod listen;
mod metered;
mod proxied;
mod proxy;
mod record;
mod redact;
mod secret;
mod temporary;

pub use answering::{Answer, Answering};
pub use body::Body;
pub(crate) use carried::carried;
pub use client::{Client, Net, Request, RequestBody, Response};
pub use fields::{MalformedField, SourceFields, is_hosts_field};
pub use grant::GrantedClient;
pub use listen::{Arriving, Attendant, Broken, Call, Closing, Listener, Peer, Reply, closing};
pub use record::{Connection, Connections, Via};
pub use redact::redacted;
pub use secret::{Basic, MalformedCredentials, Secret};
pub use temporary::{is_temporary, retry_after};

pub use crate::tls::{ClientCertificate, Negotiated, check as check_tls, random, self_signed};
