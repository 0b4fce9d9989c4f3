//! A component that is compiled, before anybody has decided what it is for.

use super::compile::Compiler;
use super::component::{Component, Kind, Origin};
use super::embedded::Embedded;
use super::precompiled::{self, Artifact};
use super::runtime::Engine;
use crate::error::{Error, Result, Stage};
use crate::oci::Digest;

/// A compiled component. It runs only as what it fits.
pub struct Unchecked {
    name: String,
    digest: Digest,
    bytes: u64,
    origin: Origin,
    loaded: wasmtime::component::Component,
}

impl Unchecked {
    /// Loads a built-in component.
    ///
    /// # Errors
    /// `component-invalid` if the program is damaged.
    pub fn built_in(engine: &Engine, embedded: &Embedded) -> Result<Self> {
        let parse = |text: &str| text.parse().map_err(|_| Error::internal(Stage::Plan, "a malformed built-in digest"));
        let artifact = Artifact::Embedded { bytes: embedded.artifact, digest: parse(embedded.artifact_digest)? };
        Ok(Self {
            name: embedded.name.to_owned(),
            digest: parse(embedded.digest)?,
            bytes: embedded.bytes,
            origin: Origin::BuiltIn,
            loaded: precompiled::load(engine, &artifact, embedded.name)?,
        })
    }

    /// Has `compiler` compile a stranger's component, which goes by `name`.
    ///
    /// # Errors
    /// `component-invalid` if it is not a component or cannot be compiled within bounds, `local-file` for a cache that others
    /// can write.
    pub async fn compiled(
        engine: &Engine,
        compiler: &Compiler,
        (name, origin): (&str, Origin),
        wasm: &[u8],
    ) -> Result<Self> {
        let artifact = compiler.artifact(engine, name, wasm).await?;
        Ok(Self {
            loaded: precompiled::load(engine, &Artifact::FromChild { bytes: &artifact }, name)?,
            name: name.to_owned(),
            digest: Digest::of(wasm),
            bytes: wasm.len() as u64,
            origin,
        })
    }

    /// The component as one of that kind.
    ///
    /// # Errors
    /// `component-invalid` with everything that keeps it from fitting that world.
    pub fn fit(&self, engine: &Engine, kind: Kind) -> Result<Component> {
        Component::checked(engine, &self.name, kind, self.digest, self.origin.clone(), self.loaded.clone())
    }

    /// The name it goes by: its package, or the name of its file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The digest of the component's bytes.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// How many bytes the component has.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where it came from.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What it imports, by its full name: `longshore:stage/fetch@0.1.0`.
    #[must_use]
    pub fn imports(&self, engine: &Engine) -> Vec<String> {
        self.loaded.component_type().imports(engine.inner()).map(|(name, _)| name.to_owned()).collect()
    }

    /// What it exports.
    #[must_use]
    pub fn exports(&self, engine: &Engine) -> Vec<String> {
        self.loaded.component_type().exports(engine.inner()).map(|(name, _)| name.to_owned()).collect()
    }

    /// The kinds whose interface it exports, whether it fits their worlds or not.
    #[must_use]
    pub fn exported_kinds(&self, engine: &Engine) -> Vec<Kind> {
        let exports = self.exports(engine);
        Kind::ALL.into_iter().filter(|kind| exports.contains(&kind.interface())).collect()
    }
}
