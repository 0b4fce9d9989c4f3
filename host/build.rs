//! Builds the built-in components and compiles them ahead of time, so that `longshore` is one file that starts at once.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::{env, process};

use anyhow::{Context, Result, anyhow};
use sha2::{Digest, Sha256};

#[path = "src/engine/config.rs"]
mod config;

/// Package and kind of every built-in component, and the schemes that a source declares: a test compares. So SOURCE finds its
/// component without an instance of each.
const COMPONENTS: [(&str, &str, &[&str]); 13] = [
    ("source-http", "Source", &["http", "https"]),
    ("source-file", "Source", &["file"]),
    ("source-registry", "Source", &["docker"]),
    ("filter-gzip", "Filter", &[]),
    ("filter-xz", "Filter", &[]),
    ("filter-zstd", "Filter", &[]),
    ("filter-bzip2", "Filter", &[]),
    ("filter-snappy", "Filter", &[]),
    ("filter-archive", "Filter", &[]),
    ("probe-disk", "Probe", &[]),
    ("framing-tar", "Framing", &[]),
    ("compressor-gzip", "Compressor", &[]),
    ("compressor-zstd", "Compressor", &[]),
];

fn main() {
    if let Err(why) = run() {
        // The only way to fail a build with a message of one's own.
        println!("cargo::error={}", format!("{why:#}").replace('\n', "\ncargo::error="));
        process::exit(1);
    }
}

fn run() -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let target = env::var("TARGET").context("TARGET is not set")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate has no workspace")?;
    for watched in ["wit", "components", "Cargo.lock", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    println!("cargo::rerun-if-changed=src/engine/config.rs");
    println!("cargo::rerun-if-env-changed={}", component_build::PREBUILT);
    println!("cargo::rustc-env=LONGSHORE_TARGET={target}");

    let packages = COMPONENTS.map(|(package, ..)| package);
    let built = component_build::build(&root.join("Cargo.toml"), &packages, &out.join("guests"))?;
    let engine = config::config(&target)
        .and_then(|config| wasmtime::Engine::new(&config))
        .map_err(|why| anyhow!("there is no engine for {target}: {why:#}"))?;
    let mut table = String::from("&[\n");
    for (component, (_, kind, schemes)) in built.iter().zip(COMPONENTS) {
        let artifact = engine
            .precompile_component(&component.wasm)
            .map_err(|why| anyhow!("`{}` does not compile: {why:#}", component.name))?;
        let (wasm, cwasm) =
            (out.join(&component.name).with_extension("wasm"), out.join(&component.name).with_extension("cwasm"));
        fs::write(&wasm, &component.wasm)?;
        fs::write(&cwasm, &artifact)?;
        writeln!(
            table,
            "Embedded {{ name: {:?}, kind: Kind::{kind}, digest: {:?}, bytes: {}, schemes: &{schemes:?}, artifact: include_bytes!({:?}), artifact_digest: {:?} }},",
            component.name,
            digest(&component.wasm),
            component.wasm.len(),
            cwasm.display().to_string(),
            digest(&artifact)
        )?;
    }
    table.push(']');
    fs::write(out.join("embedded.rs"), table)?;
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::from("sha256:"), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
