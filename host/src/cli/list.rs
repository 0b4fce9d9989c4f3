//! `component list`, and the components in `--version`.

use tokio::runtime::Builder;
use tokio::task::LocalSet;

use super::messages;
use crate::error::{Error, Result, Stage};
use crate::pipeline;
use crate::policy::Limits;

/// Lists the built-in components.
pub(super) fn run() -> Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| Error::internal(Stage::Plan, format!("there is no runtime: {why}")))?;
    let listed = LocalSet::new().block_on(&runtime, pipeline::list_built_in(&Limits::default()))?;
    for component in listed {
        let pipeline::Listed { name, version, kind, digest, declares } = component;
        messages::data(&format!("{name} {version} {kind} {digest} {declares}"))?;
    }
    Ok(())
}

/// The version with the digests of what is built in.
pub(super) fn long_version() -> String {
    let mut text = env!("CARGO_PKG_VERSION").to_owned();
    for (name, digest) in pipeline::built_in_digests() {
        text.push_str(&format!("\n{name} {digest}"));
    }
    text
}
