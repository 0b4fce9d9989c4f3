//! Bindings to the package `longshore:stage`. No logic.
//!
//! One host world includes every component world, so that all stages share one set of types; each stage loads only the
//! interfaces of its own world.

#![allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated")]
#![allow(clippy::all, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package longshore:host;
        world host {
            include longshore:stage/source-component@0.1.0;
            include longshore:stage/filter-component@0.1.0;
            include longshore:stage/probe-component@0.1.0;
            include longshore:stage/framing-component@0.1.0;
            include longshore:stage/compressor-component@0.1.0;
        }
    ",
    world: "longshore:host/host",
    imports: {
        "longshore:stage/fetch.send": store | trappable,
        "longshore:stage/fetch.send-verified": store | trappable,
        "longshore:stage/local.open": store | trappable,
        "longshore:stage/window.[method]window.read-at": store | trappable,
        "longshore:stage/window.[method]window.read-tail": store | trappable,
        default: trappable,
    },
    exports: { default: async },
});

pub use self::exports::longshore::stage::{compressor, describe, filter, framing, probe, source};
pub use self::longshore::stage::types::Failure;
pub use self::longshore::stage::{fetch, local, log, window};
