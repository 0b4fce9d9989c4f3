//! Builds every fixture into `target/fixtures/<name>.wasm`, and the built-in components once more into
//! `target/fixtures/built-in/<name>.wasm`: what is embedded must be what anybody builds from the sources.

use std::fs;
use std::path::Path;

use anyhow::Result;
use component_build::Built;
use longshore_tests::fixtures::{ALL, folder};

fn main() -> Result<()> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = folder();
    let names = ALL.map(|fixture| fixture.name());
    let fixtures = component_build::build(&tests.join("fixtures/Cargo.toml"), &names, &out.join("cargo"))?;
    write(&out, &fixtures)?;
    let names: Vec<&str> = longshore::engine::built_in().iter().map(|embedded| embedded.name).collect();
    let built_in = component_build::build(&tests.join("../Cargo.toml"), &names, &out.join("cargo"))?;
    write(&out.join("built-in"), &built_in)
}

fn write(folder: &Path, components: &[Built]) -> Result<()> {
    fs::create_dir_all(folder)?;
    for component in components {
        fs::write(folder.join(&component.name).with_extension("wasm"), &component.wasm)?;
    }
    Ok(())
}
