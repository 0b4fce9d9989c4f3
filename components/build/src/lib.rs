//! Builds guests written in Rust into components: a nested cargo for `wasm32-unknown-unknown`, then the encoder.
//!
//! Used by `host/build.rs` for the built-in components and by the tests for their fixtures. The result is the same to the
//! byte whatever the profile of the host and wherever the checkout lies.

mod toolchain;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use toolchain::Toolchain;

const TARGET: &str = "wasm32-unknown-unknown";

/// Names a folder with ready-made `<package>.wasm` components, for packagers and machines without a wasm toolchain.
pub const PREBUILT: &str = "LONGSHORE_PREBUILT_COMPONENTS";

/// One guest, built.
#[derive(Debug)]
pub struct Built {
    /// The package's name.
    pub name: String,
    /// The component.
    pub wasm: Vec<u8>,
}

/// Builds `packages` of the workspace at `manifest` in release mode, keeping cargo's files in `target_dir`.
///
/// `target_dir` must not be the one of a cargo that is running: cargo would wait for its own lock.
///
/// # Errors
/// With a sentence that says what is missing if there is no toolchain for wasm; otherwise whatever cargo or the encoder
/// said.
pub fn build(manifest: &Path, packages: &[&str], target_dir: &Path) -> Result<Vec<Built>> {
    if let Some(folder) = env::var_os(PREBUILT) {
        return packages.iter().map(|package| prebuilt(Path::new(&folder), package)).collect();
    }
    let toolchain = Toolchain::find()?;
    let mut cargo = toolchain.cargo(scrub)?;
    cargo.args(["--release", "--locked"]);
    cargo.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(target_dir);
    for package in packages {
        cargo.args(["--package", package]);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", remapped(manifest, &toolchain)?);
    let output = cargo.output().context("cargo could not be started for the guests")?;
    ensure!(
        output.status.success(),
        "cargo failed to build the guests:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    packages.iter().map(|package| encode(target_dir, package)).collect()
}

fn prebuilt(folder: &Path, package: &str) -> Result<Built> {
    let path = folder.join(format!("{package}.wasm"));
    let wasm = fs::read(&path).with_context(|| format!("{PREBUILT} names a folder without {}", path.display()))?;
    Ok(Built { name: package.to_owned(), wasm })
}

fn encode(target_dir: &Path, package: &str) -> Result<Built> {
    let file = format!("{}.wasm", package.replace('-', "_"));
    let path = target_dir.join(TARGET).join("release").join(file);
    let module = fs::read(&path).with_context(|| format!("cargo left no {}", path.display()))?;
    let wasm = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .with_context(|| format!("`{package}` could not be encoded as a component"))?;
    Ok(Built { name: package.to_owned(), wasm })
}

/// A nested cargo must not inherit what the outer one set for the host.
fn scrub(cargo: &mut Command) {
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let inherited = name.starts_with("CARGO_")
            && !matches!(name.as_str(), "CARGO_HOME" | "CARGO_HTTP_CAINFO" | "CARGO_NET_OFFLINE")
            && !name.starts_with("CARGO_REGISTR")
            && !name.starts_with("CARGO_SOURCE_");
        if inherited
            || matches!(
                name.as_str(),
                "RUSTFLAGS"
                    | "RUSTC_WRAPPER"
                    | "RUSTC_WORKSPACE_WRAPPER"
                    | "MAKEFLAGS"
                    | "TARGET"
                    | "PROFILE"
                    | "OPT_LEVEL"
            )
        {
            cargo.env_remove(&name);
        }
    }
}

/// Flags that keep this machine's paths out of the components.
fn remapped(manifest: &Path, toolchain: &Toolchain) -> Result<String> {
    let root = manifest.parent().context("the manifest has no folder")?;
    let root = fs::canonicalize(root).with_context(|| format!("{} cannot be resolved", root.display()))?;
    let mut pairs = vec![(root, "/longshore"), (cargo_home()?, "/cargo"), (toolchain.sysroot()?, "/rust")];
    if let Ok(source) = fs::canonicalize(toolchain.sysroot()?.join("lib/rustlib/src/rust")) {
        pairs.push((source, "/rust/lib/rustlib/src/rust"));
    }
    let flags: Vec<String> =
        pairs.into_iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect();
    Ok(flags.join("\x1f"))
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(home));
    }
    match env::var_os("HOME") {
        Some(home) => Ok(PathBuf::from(home).join(".cargo")),
        None => bail!("neither CARGO_HOME nor HOME is set"),
    }
}
