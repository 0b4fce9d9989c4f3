//! The components that are built in.

use super::component::Kind;

/// One built-in component, compiled ahead of time.
#[derive(Debug)]
pub struct Embedded {
    /// Its package.
    pub name: &'static str,
    /// The world it is for.
    pub kind: Kind,
    /// The digest of the component.
    pub digest: &'static str,
    /// The bytes of the component.
    pub bytes: u64,
    /// The schemes it declares, if it is a source.
    pub schemes: &'static [&'static str],
    /// The compiled artifact.
    pub(super) artifact: &'static [u8],
    /// The digest of the artifact.
    pub(super) artifact_digest: &'static str,
}

/// What built-in components take, where that is more than `limits.component-memory` by default: `xz -9` has a dictionary of
/// 64 MiB, which is there one and a half times while it grows, besides what it has outgrown; the windows of layers that are
/// compressed with zstd have up to 32 MiB, twice while they grow.
const MEMORY: [(&str, usize); 2] = [("filter-xz", 144 << 20), ("source-registry", 112 << 20)];

/// The most memory that the built-in component of that name takes, if that is more than the default allows.
pub(super) fn memory(name: &str) -> Option<usize> {
    MEMORY.iter().find(|(known, _)| *known == name).map(|(_, memory)| *memory)
}

/// Every built-in component.
#[must_use]
pub const fn built_in() -> &'static [Embedded] {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Component, Engine};

    #[test]
    fn every_built_in_component_loads() {
        let engine = Engine::new(&crate::policy::Limits::default()).unwrap();
        for embedded in built_in() {
            let component = Component::built_in(&engine, embedded).unwrap();
            assert_eq!(component.digest().to_string(), embedded.digest);
        }
    }
}
