//! The harness: real peers started on free ports of 127.0.0.1 and stopped by their pid, scripted peers for manners that
//! real ones do not show on demand, and the program as a user runs it. A missing peer is a failure, never a skip.

pub mod cgroup;
pub mod chromium;
pub mod counted;
pub mod dns;
pub mod faults;
pub mod fixtures;
pub mod golden;
pub mod hello;
pub mod http_proxy;
pub mod images;
pub mod layers;
pub mod listener;
pub mod loop_device;
pub mod memory;
pub mod namespace;
pub mod nginx;
pub mod peer;
pub mod pod;
pub mod program;
pub mod proxy;
pub mod ranges;
pub mod registry;
pub mod scratch;
pub mod script;
pub mod serving;
pub mod signer;
pub mod sink;
pub mod tls;
pub mod tokens;
pub mod wire;
pub mod wrapped;
