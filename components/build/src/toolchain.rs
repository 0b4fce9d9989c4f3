//! Which Rust builds the guests.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::TARGET;

/// A cargo and rustc that can build for wasm.
pub(crate) struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    standard_library: StandardLibrary,
}

/// Where the guests' standard library comes from.
#[derive(Clone, Copy)]
enum StandardLibrary {
    /// It came with the target.
    Installed,
    /// From its sources: the target was not to be had, as with Debian's rustc-web.
    BuiltFromSource,
}

impl Toolchain {
    /// The toolchain that is running, else Debian's in /usr/bin.
    pub(crate) fn find() -> Result<Self> {
        let named =
            |variable, fallback: &str| env::var_os(variable).map_or_else(|| PathBuf::from(fallback), PathBuf::from);
        let running = (named("CARGO", "cargo"), named("RUSTC", "rustc"));
        let debian = (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc"));
        for (cargo, rustc) in [running, debian] {
            if let Some(standard_library) = standard_library(&rustc) {
                return Ok(Self { cargo, rustc, standard_library });
            }
        }
        bail!(
            "no Rust here can build for {TARGET}: run `rustup target add {TARGET}`, or install Debian's rustc-web, \
             cargo-web, rust-web-src and lld, or name a folder of ready-made components in {}",
            crate::PREBUILT
        )
    }

    /// A `cargo build` for the guests' target, with `scrub` applied before anything is set.
    pub(crate) fn cargo(&self, scrub: impl FnOnce(&mut Command)) -> Result<Command> {
        let mut cargo = Command::new(&self.cargo);
        scrub(&mut cargo);
        cargo.env("RUSTC", &self.rustc).arg("build").args(["--target", TARGET]);
        if matches!(self.standard_library, StandardLibrary::BuiltFromSource) {
            cargo.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", self.linker()?);
        }
        Ok(cargo)
    }

    /// Debian ships rustc without the linker it expects: lld of the same LLVM does, as does any that is installed.
    fn linker(&self) -> Result<PathBuf> {
        let version = print(&self.rustc, &["-vV"]).context("rustc does not say what it is")?;
        let version = version.display().to_string();
        let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next());
        let named = llvm.map(|major| format!("wasm-ld-{major}"));
        let candidates = named.into_iter().chain(["wasm-ld".to_owned(), "rust-lld".to_owned()]);
        let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
        let mut paths = candidates.flat_map(|name| folders.iter().map(move |folder| folder.join(&name)));
        paths.find(|path| path.is_file()).context("no linker for wasm: install Debian's lld")
    }

    pub(crate) fn sysroot(&self) -> Result<PathBuf> {
        print(&self.rustc, &["--print", "sysroot"]).context("rustc does not say where its sysroot is")
    }
}

fn standard_library(rustc: &Path) -> Option<StandardLibrary> {
    let installed = print(rustc, &["--print", "target-libdir", "--target", TARGET])?;
    if installed.is_dir() {
        return Some(StandardLibrary::Installed);
    }
    let source = print(rustc, &["--print", "sysroot"])?.join("lib/rustlib/src/rust/library/Cargo.lock");
    source.is_file().then_some(StandardLibrary::BuiltFromSource)
}

fn print(rustc: &Path, arguments: &[&str]) -> Option<PathBuf> {
    let output = Command::new(rustc).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(text.trim()))
}
