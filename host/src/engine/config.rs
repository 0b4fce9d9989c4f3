//! The one configuration of wasmtime. The build script compiles this very file, so that what it compiles ahead of time
//! fits the engine that loads it.

use wasmtime::{Config, Result};

/// Native stack of a guest.
const MAX_STACK_BYTES: usize = 512 * 1024;

/// The configuration, for `target`: never the features of the machine that happens to build or run.
pub(crate) fn config(target: &str) -> Result<Config> {
    let mut config = Config::new();
    config.target(target)?;
    config.wasm_component_model(true);
    config.wasm_component_model_async(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(MAX_STACK_BYTES);
    // A copy-on-write image is a memfd, which RLIMIT_FSIZE counts as a file.
    config.memory_init_cow(false);
    Ok(config)
}
