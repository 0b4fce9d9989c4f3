//! Every connection the process opened, for the report.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Code;
use crate::observe::Traffic;
use crate::policy::{Origin, Side};
use crate::tls::{ClientCertificate, Negotiated};

/// The most connections of one side that are kept one by one; what comes after is only counted.
const MAX_KEPT: usize = 256;

/// One connection that was established, or the TLS session of which failed.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Which end of the flow it is for.
    pub side: Side,
    /// Whom it was for.
    pub origin: Origin,
    /// The address that was dialled: the proxy's, if there is one.
    pub address: SocketAddr,
    /// The proxy it goes over; none if it is direct.
    pub via: Option<Via>,
    /// What TLS settled on; none on plain HTTP.
    pub tls: Option<Negotiated>,
    /// How long the handshake took; none on plain HTTP.
    pub handshake: Option<Duration>,
    /// Why there was no TLS session within the policy; none if there was, and on plain HTTP.
    pub failed: Option<Code>,
}

/// The proxy of a connection.
#[derive(Clone, Debug)]
pub struct Via {
    /// Where it listens.
    pub origin: Origin,
    /// What TLS with the proxy itself settled on; none for an `http` proxy.
    pub tls: Option<Negotiated>,
    /// How long that handshake took.
    pub handshake: Option<Duration>,
}

/// The record of a run.
#[derive(Debug, Default)]
pub struct Connections {
    kept: Mutex<Kept>,
    source: Traffic,
    registry: Traffic,
}

#[derive(Debug, Default)]
struct Kept {
    all: Vec<Connection>,
    left_out: u64,
}

impl Connections {
    pub(super) fn add(&self, connection: Connection) {
        let mut kept = self.kept();
        let of_side = kept.all.iter().filter(|other| other.side == connection.side).count();
        if of_side < MAX_KEPT {
            kept.all.push(connection);
        } else {
            kept.left_out = kept.left_out.saturating_add(1);
        }
    }

    /// What the last peer on that side that asked for a client certificate got; none if nobody asked.
    pub(super) fn client_certificate(&self, side: Side) -> Option<ClientCertificate> {
        let kept = self.kept();
        let asked = |connection: &Connection| connection.tls.as_ref()?.client_certificate;
        let on_side = kept.all.iter().rev().filter(|connection| connection.side == side);
        on_side.filter_map(asked).find(|asked| *asked != ClientCertificate::NotAsked)
    }

    /// What the connections of that side cost so far, those that are not kept one by one too.
    #[must_use]
    pub const fn traffic(&self, side: Side) -> &Traffic {
        match side {
            Side::Source => &self.source,
            Side::Registry => &self.registry,
        }
    }

    /// All connections so far, in order, at most 256 of each side.
    #[must_use]
    pub fn all(&self) -> Vec<Connection> {
        self.kept().all.clone()
    }

    /// How many more there were.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.kept().left_out
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
