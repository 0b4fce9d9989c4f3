//! Components in registries (CNCF TAG Runtime, "Wasm OCI Artifact layout"): a manifest whose config has the media type
//! `application/vnd.wasm.config.v0+json` and whose one layer, `application/wasm`, is the component. They are named by the
//! manifest's digest and by nothing else: what a tag leads to, somebody else decides. What was fetched once is kept by its digest
//! and compared with it each time it is used. The config is what its pusher claims; nothing is taken from it.

use super::destination::registry_at;
use crate::engine::{Cache, CachePlace, Kept, MAX_COMPONENT_BYTES};
use crate::error::{Code, Error, Result, Stage};
use crate::net::Net;
use crate::oci::{Descriptor, Digest, Document, Reference, Tag, WASM_CONFIG, WASM_LAYER};
use crate::policy::{Policy, Side};
use crate::registry::{Credentials, Pull};

/// The most bytes of a manifest.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Where a component is in a registry.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Which: with a digest, or it is refused.
    pub reference: Reference,
    /// Credentials for its registry.
    pub credentials: Option<Credentials>,
}

impl Artifact {
    /// The reference as it is typed, shown and reported.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("docker://{}", self.reference)
    }

    /// The name it goes by: the last segment of its repository.
    pub(super) fn name(&self) -> &str {
        let path = self.reference.repository.path();
        path.rsplit('/').next().unwrap_or(path)
    }

    /// The component's digest, as far as that is known without asking the registry.
    ///
    /// # Errors
    /// `usage` without the manifest's, `component-invalid` as for [`Self::fetch`], `local-file` for a cache that others can write.
    pub(super) fn known(&self, cache: &CachePlace) -> Result<Option<Digest>> {
        let Some(digest) = &self.reference.digest else {
            return Err(self.refused().hint("docker://host/repository@sha256:…"));
        };
        let manifest = cache.open()?.and_then(|cache| cache.read(Kept::Content(digest), MAX_MANIFEST_BYTES));
        manifest.map(|manifest| self.layer(&manifest).map(|layer| layer.digest)).transpose()
    }

    /// Finds the component, and fetches it if `may` lets its digest run. What is kept already is not asked for.
    ///
    /// # Errors
    /// `usage` without a digest, `component-invalid` for what is no component by its manifest, those of `may`, those of the
    /// registry.
    pub(super) async fn fetch<T>(
        &self,
        cache: &CachePlace,
        policy: &Policy,
        net: &Net,
        may: impl FnOnce(&Digest) -> Result<T>,
    ) -> Result<(Vec<u8>, T)> {
        let asked = || format!("asked for the component {}", self.shown());
        let Some(digest) = &self.reference.digest else {
            return Err(self.without_digest(policy, net).await);
        };
        let cache = cache.open()?;
        let mut pull = None;
        let manifest = match read(cache.as_ref(), digest, MAX_MANIFEST_BYTES) {
            Some(manifest) => manifest,
            None => {
                let found = self.pull(&mut pull, policy, net)?.digested(digest).await;
                let found = found.map_err(|error| error.context(asked()))?;
                self.layer(&found.bytes)?;
                keep(cache.as_ref(), digest, &found.bytes);
                found.bytes
            }
        };
        let layer = self.layer(&manifest)?;
        let allowed = may(&layer.digest)?;
        if let Some(wasm) = read(cache.as_ref(), &layer.digest, layer.size) {
            return Ok((wasm, allowed));
        }
        let most = usize::try_from(MAX_COMPONENT_BYTES).unwrap_or(usize::MAX);
        let wasm = self.pull(&mut pull, policy, net)?.blob_within(&layer, most).await;
        let wasm = wasm.map_err(|error| error.context(asked()))?;
        keep(cache.as_ref(), &layer.digest, &wasm);
        Ok((wasm, allowed))
    }

    fn refused(&self) -> Error {
        let message = format!("the component {} is named without its digest", self.shown());
        Error::new(Code::Usage, Stage::Plan, message)
    }

    /// Why a reference without a digest is refused, with the digest that it would be now.
    async fn without_digest(&self, policy: &Policy, net: &Net) -> Error {
        let error = self.refused();
        let tag = self.reference.tag.clone().unwrap_or_else(Tag::latest);
        let mut pull = None;
        let found = match self.pull(&mut pull, policy, net) {
            Ok(pull) => pull.tagged(&tag).await,
            Err(why) => Err(why),
        };
        match found {
            Ok(found) => {
                let repository = &self.reference.repository;
                error.hint(format!("now it would be docker://{repository}@{}", found.descriptor.digest))
            }
            Err(why) => error.hint(format!("docker://host/repository@sha256:…; `{tag}` cannot be looked up: {why}")),
        }
    }

    fn pull<'p>(&self, pull: &'p mut Option<Pull>, policy: &Policy, net: &Net) -> Result<&'p mut Pull> {
        if pull.is_none() {
            let (origin, url) = registry_at(&self.reference.repository, Side::Registry, policy)?;
            let client = net.client(Side::Registry, vec![origin]);
            *pull = Some(Pull::new(client, &url, self.reference.repository.clone(), self.credentials.clone())?);
        }
        pull.as_mut().ok_or_else(|| Error::internal(Stage::Plan, "a client that was just made is gone"))
    }

    /// The one layer of a manifest, if that is one of a component.
    fn layer(&self, manifest: &[u8]) -> Result<Descriptor> {
        let invalid = |why: String| {
            let message = format!("{} is not a component: {why}", self.shown());
            Error::new(Code::ComponentInvalid, Stage::Plan, message)
        };
        let manifest = match Document::parse(manifest) {
            Ok(Document::Manifest(manifest)) => manifest,
            Ok(Document::Index(_)) => return Err(invalid("it is an index, expected a manifest".to_owned())),
            Err(why) => return Err(invalid(format!("its manifest cannot be read: {why}"))),
        };
        if manifest.config.media_type != WASM_CONFIG {
            let media_type = &manifest.config.media_type;
            return Err(invalid(format!("its config has the media type `{media_type}`, expected `{WASM_CONFIG}`")));
        }
        let count = manifest.layers.len();
        let mut layers = manifest.layers.into_iter();
        let (Some(layer), None) = (layers.next(), layers.next()) else {
            return Err(invalid(format!("its manifest has {count} layers, expected 1")));
        };
        if layer.media_type != WASM_LAYER {
            return Err(invalid(format!(
                "its layer has the media type `{}`, expected `{WASM_LAYER}`",
                layer.media_type
            )));
        }
        if layer.size > MAX_COMPONENT_BYTES {
            return Err(invalid(format!("it has {} bytes, expected at most {MAX_COMPONENT_BYTES}", layer.size)));
        }
        Ok(layer)
    }
}

fn read(cache: Option<&Cache>, digest: &Digest, most: u64) -> Option<Vec<u8>> {
    cache?.read(Kept::Content(digest), most)
}

fn keep(cache: Option<&Cache>, digest: &Digest, bytes: &[u8]) {
    if let Some(cache) = cache {
        cache.keep(Kept::Content(digest), bytes);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn artifact(text: &str) -> Artifact {
        Artifact { reference: text.parse().unwrap(), credentials: None }
    }

    #[test]
    fn a_manifest_of_a_component_has_one_layer_of_wasm() {
        let artifact = artifact("r.example:5000/filters/rot:1");
        assert_eq!((artifact.name(), &*artifact.shown()), ("rot", "docker://r.example:5000/filters/rot:1"));
        let descriptor = |media_type: &str, size: u64| json!({ "mediaType": media_type, "digest": Digest::of(b"x").to_string(), "size": size });
        let (config, layer) = (descriptor(WASM_CONFIG, 2), descriptor(WASM_LAYER, 1));
        let image = descriptor("application/vnd.oci.image.config.v1+json", 2);
        let tar = descriptor("application/vnd.oci.image.layer.v1.tar", 1);
        let large = descriptor(WASM_LAYER, MAX_COMPONENT_BYTES + 1);
        let found = |manifest: serde_json::Value| artifact.layer(manifest.to_string().as_bytes());
        assert_eq!(found(json!({ "config": config, "layers": [layer] })).unwrap().digest, Digest::of(b"x"));
        for (manifest, says) in [
            (json!({ "config": image, "layers": [layer] }), "its config has the media type"),
            (json!({ "config": config, "layers": [tar] }), "its layer has the media type"),
            (json!({ "config": config, "layers": [] }), "has 0 layers, expected 1"),
            (json!({ "config": config, "layers": [layer, layer] }), "has 2 layers, expected 1"),
            (json!({ "config": config, "layers": [large] }), "expected at most 67108864"),
            (json!({ "manifests": [] }), "it is an index"),
            (json!({ "config": config, "layers": [layer], "manifests": [] }), "a manifest and an index at once"),
            (json!([]), "cannot be read"),
        ] {
            let error = found(manifest).unwrap_err();
            assert_eq!(error.code(), Code::ComponentInvalid);
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
