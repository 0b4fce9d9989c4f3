//! WASI 0.2 and 0.3 for guests built with an ordinary standard library. Everything is there, and nothing can be reached:
//! no files, no sockets, no name lookup, no environment, no arguments, and standard input is at its end. Standard output
//! and error go to the log.
//!
//! No component was granted a clock, yet a standard library asks for the time and for random numbers before `main`. So it
//! gets constants: the wall clock stands at 1970-01-01, the monotonic one at 0, and random numbers are the same in each
//! instance. What a component does then depends on its input alone, which is the contract of a framing and of a probe, and
//! what makes any failure repeatable. Nothing is lost by it: TLS and credentials are the host's, and a disk that was made
//! to collide in a guest's hash tables meets the CPU budget. Waiting is real, though. A guest that waits learns no more
//! than one that counts its own instructions, and waits no longer than the idle limit.

use std::time::Duration;

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::log::Log;
use super::state::StoreState;
use crate::bindings::log::Level;

/// Random bytes that one call may ask for.
const MAX_RANDOM_BYTES: u64 = 64 << 10;
/// How many bytes the random numbers repeat after: a prime, so that they do not fall into step with a guest.
const RANDOM_PERIOD: usize = 4093;
/// What constant random numbers begin with.
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// The interfaces of WASI that a component imports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Imported {
    /// Any of 0.2.
    pub(super) two: bool,
    /// Any of 0.3.
    pub(super) three: bool,
    /// `wasi:http` of either.
    pub(super) http: bool,
}

/// An interface of WASI 0.2 or 0.3 that this host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interface {
    /// One that reaches nothing: for every component.
    Empty(Version),
    /// What it takes to send an HTTP request: for a component with a grant.
    Http(Version),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Two,
    Three,
}

/// What the WASI of one instance works on. Made when a guest first asks: most never do.
pub struct Wasi {
    /// The resources that its guest holds.
    pub table: ResourceTable,
    context: Option<WasiCtx>,
    log: Log,
}

impl Interface {
    /// The interface of that name, such as `wasi:io/poll@0.2.6`.
    pub(super) fn named(import: &str) -> Option<Self> {
        let (path, version) = import.strip_prefix("wasi:")?.split_once('@')?;
        let (package, interface) = path.split_once('/')?;
        let patch = |line: &str| {
            let patch = version.strip_prefix(line)?;
            (!patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit())).then_some(())
        };
        let version = patch("0.2.").map(|()| Version::Two).or_else(|| patch("0.3.").map(|()| Version::Three))?;
        match (package, interface, version) {
            ("cli" | "clocks" | "filesystem" | "random" | "sockets", _, _) | ("io", _, Version::Two) => {
                Some(Self::Empty(version))
            }
            ("http", "types", _) | ("http", "outgoing-handler", Version::Two) | ("http", "client", Version::Three) => {
                Some(Self::Http(version))
            }
            _ => None,
        }
    }
}

impl Imported {
    pub(super) fn add(&mut self, interface: Interface) {
        let (Interface::Empty(version) | Interface::Http(version)) = interface;
        match version {
            Version::Two => self.two = true,
            Version::Three => self.three = true,
        }
        self.http |= matches!(interface, Interface::Http(_));
    }
}

/// Adds what the component imports of WASI to its linker, `wasi:http` aside.
pub(super) fn link<S: Send + 'static>(linker: &mut Linker<StoreState<S>>, imported: Imported) -> wasmtime::Result<()> {
    if imported.two {
        wasmtime_wasi::p2::add_to_linker_async(linker)?;
    }
    if imported.three {
        wasmtime_wasi::p3::add_to_linker(linker)?;
    }
    Ok(())
}

impl Wasi {
    pub(super) fn new(log: Log, max_resources: usize) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(max_resources);
        Self { table, context: None, log }
    }
}

impl<S: Send> WasiView for StoreState<S> {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Wasi { table, context, log } = &mut self.wasi;
        WasiCtxView { ctx: context.get_or_insert_with(|| nothing(log)), table }
    }
}

/// The context that grants nothing. Spelled out where wasmtime's default is the same: a later default must not widen it.
fn nothing(log: &Log) -> WasiCtx {
    WasiCtxBuilder::new()
        .stdin(tokio::io::empty())
        .stdout(log.stream(Level::Info))
        .stderr(log.stream(Level::Warn))
        .wall_clock(Still)
        .monotonic_clock(Still)
        .secure_random(Deterministic::new(constant()))
        .insecure_random(Deterministic::new(constant()))
        .insecure_random_seed(u128::from(SEED) << 64 | u128::from(!SEED))
        .max_random_size(MAX_RANDOM_BYTES)
        .socket_addr_check(|_, _| Box::pin(async { false }))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

/// A clock that stands still. Its resolution is a second, which says as much as any.
struct Still;

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        0
    }
}

/// Bytes that look random and are always the same (xorshift64).
fn constant() -> Vec<u8> {
    let mut state = SEED;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..RANDOM_PERIOD).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reaches_nothing_is_for_everyone() {
        use Interface::{Empty, Http};
        use Version::{Three, Two};
        for (import, expected) in [
            ("wasi:io/poll@0.2.0", Some(Empty(Two))),
            ("wasi:cli/environment@0.2.12", Some(Empty(Two))),
            ("wasi:sockets/tcp@0.2.9", Some(Empty(Two))),
            ("wasi:clocks/monotonic-clock@0.3.0", Some(Empty(Three))),
            ("wasi:http/types@0.2.10", Some(Http(Two))),
            ("wasi:http/outgoing-handler@0.2.0", Some(Http(Two))),
            ("wasi:http/client@0.3.0", Some(Http(Three))),
            ("wasi:http/outgoing-handler@0.3.0", None),
            ("wasi:http/handler@0.3.0", None),
            ("wasi:http/incoming-handler@0.2.0", None),
            ("wasi:io/poll@0.3.0", None),
            ("wasi:io/poll@0.2.", None),
            ("wasi:io/poll@0.2", None),
            ("wasi:io/poll@0.4.0", None),
            ("wasi:clocks/monotonic-clock@0.3.0-rc-2025-09-16", None),
            ("wasi:keyvalue/store@0.2.0", None),
            ("wasi:tls/types@0.2.0", None),
            ("wasi:io/poll", None),
            ("other:io/poll@0.2.0", None),
        ] {
            assert_eq!(Interface::named(import), expected, "{import}");
        }
    }

    #[test]
    fn random_numbers_are_constant_and_not_all_alike() {
        let bytes = constant();
        assert_eq!(bytes, constant());
        assert!((0..=u8::MAX).all(|byte| bytes.contains(&byte)), "each byte comes up");
    }
}
