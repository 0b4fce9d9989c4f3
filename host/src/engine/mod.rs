//! Running components: the engine and its limits, loading and compiling, the store of one instance, and the adapters
//! between component streams and ours.

mod budget;
mod cache;
mod compile;
mod component;
mod config;
mod consume;
mod embedded;
mod guest;
mod limiter;
mod log;
mod precompiled;
mod produce;
mod runtime;
mod state;
mod unchecked;
mod wasi;
mod watch;

pub use cache::{Cache, CachePlace, Kept};
pub use compile::{Compiler, MAX_COMPONENT_BYTES, compile_child};
pub use component::{Component, Kind, Origin};
pub use consume::{bytes_into, outcome_into};
pub use embedded::{Embedded, built_in};
pub use guest::{Guest, LINGER, Linking};
pub use log::cleaned;
pub use produce::{HostStream, host_future};
pub use runtime::{Engine, Ticker};
pub use state::StoreState;
pub use unchecked::Unchecked;
