//! Loading compiled artifacts: native code. The one place in the host with `unsafe`.

use wasmtime::component::Component;

use super::runtime::Engine;
use crate::error::{Code, Error, Result, Stage};
use crate::oci::Digest;

/// An artifact that only we can have made, and what it must be.
pub(super) enum Artifact<'a> {
    /// Embedded at build time, with the digest the build recorded.
    Embedded { bytes: &'a [u8], digest: Digest },
    /// Written by our own compile child, over a pipe that nobody else holds, or kept since in a folder that nobody else writes.
    FromChild { bytes: &'a [u8] },
}

/// Loads an artifact. wasmtime compares its own version and configuration with those it was compiled with.
///
/// # Errors
/// `component-invalid` if the digest differs or it was made for another engine.
pub(super) fn load(engine: &Engine, artifact: &Artifact<'_>, name: &str) -> Result<Component> {
    let bytes = match *artifact {
        Artifact::Embedded { bytes, digest } => {
            let got = Digest::of(bytes);
            if got != digest {
                let message = format!("the embedded artifact of `{name}` has the digest {got}, expected {digest}");
                return Err(Error::new(Code::ComponentInvalid, Stage::Plan, message)
                    .hint("this copy of longshore is damaged; install it again"));
            }
            bytes
        }
        Artifact::FromChild { bytes } => bytes,
    };
    #[expect(unsafe_code, reason = "embedded and digest-checked, or from our own compile child; see `Artifact`")]
    // SAFETY: `Component::deserialize` requires bytes that wasmtime's own compiler produced. `Artifact` has no other kinds.
    let loaded = unsafe { Component::deserialize(engine.inner(), bytes) };
    loaded.map_err(|why| {
        let message = format!("the artifact of `{name}` does not fit this engine: {why:#}");
        Error::new(Code::ComponentInvalid, Stage::Plan, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_of_another_digest_is_not_loaded() {
        let engine = Engine::new(&crate::policy::Limits::default()).unwrap();
        let artifact = Artifact::Embedded { bytes: b"native code", digest: Digest::of(b"other code") };
        assert_eq!(load(&engine, &artifact, "x").unwrap_err().code(), Code::ComponentInvalid);
        let artifact = Artifact::Embedded { bytes: b"native code", digest: Digest::of(b"native code") };
        assert_eq!(load(&engine, &artifact, "x").unwrap_err().code(), Code::ComponentInvalid);
    }
}
