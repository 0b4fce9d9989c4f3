//! longshore carries a virtual machine disk from where it is into an OCI registry, in one pass, under a policy.
//!
//! ```text
//!  SOURCE ──> source ──┬──> [filter]* ──┬──> framing ──> [compressor] ──> upload ──> config ──> manifest ──> tags
//!             (wasm)   │    (wasm)      │    (wasm)      (wasm)           (host)
//!                      │                ├─> probe (wasm): format, virtual size, hazards
//!                      │                └─> checksums demanded of the disk (host)
//!                      └─> checksums demanded of the bytes received (host)
//! ```
//!
//! [`pipeline`] is that picture as one function. Nothing uses a module above it; a test holds the table of allowed edges.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | arguments as typed, the plan as resolved, messages and progress |
//! | [`serve`] | disks that clients upload; health and metrics |
//! | [`doctor`] | what this machine and these peers can do |
//! | [`pipeline`] | the flow; the only place where stages and registry meet |
//! | [`stages`] | what a component exports, as a step of the host's flow |
//! | [`registry`] | the upload session, push, wire errors; knows no wasm |
//! | [`layout`] | the same over an OCI image layout directory |
//! | [`engine`] | wasmtime: limits, load and compile, store state, stream adapters |
//! | [`bindings`] | the WIT package in Rust; no logic |
//! | [`net`] | dialling under egress policy and the HTTP client; the only socket opener |
//! | [`tls`] | the TLS policy as configurations; the only TLS-library user |
//! | [`stream`] | flows, outcomes, pipes, digests, the probe's window; knows no wasm |
//! | [`policy`] | what is allowed, as a value; pure |
//! | [`oci`] | references, digests, manifests; pure |
//! | [`observe`] | meters and progress |
//! | [`error`] | one error with code, stage, blame and retryability |
//!
//! # Invariants
//!
//! 1. A tag points only at an image whose every byte was verified. The end of a stream is never success by itself: a
//!    [`stream::Flow`] ends only after its outcome is ok, and a registry never gets the last byte of a flow before that.
//! 2. Memory is bounded by constants, whatever the size of the disk.
//! 3. No temporary file holds the disk.
//! 4. No component reaches a file, socket, clock, environment variable or secret that it was not granted.
//! 5. Every connection went through the TLS and egress policy.
//! 6. No panic on any input: `unwrap`, `expect`, `panic`, indexing and `unsafe` are denied by lint outside tests.
//! 7. Every failure is counted as source, content, policy, component, registry, network or internal.

pub mod bindings;
pub mod cli;
pub mod doctor;
pub mod engine;
pub mod error;
pub mod layout;
pub mod net;
pub mod observe;
pub mod oci;
pub mod pipeline;
pub mod policy;
pub mod registry;
pub mod serve;
pub mod stages;
pub mod stream;
pub mod tls;
