//! Every key of the document. What is not here is unknown; what is here and not built yet is refused by name.

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// From the document's root, without the index of an entry.
    pub path: &'static str,
    /// Whether it does anything yet.
    pub support: Support,
}

/// Whether a key does anything yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Read and enforced.
    Built,
    /// Part of the contract, and refused.
    NotYet,
}

const fn built(path: &'static str) -> Key {
    Key { path, support: Support::Built }
}

const fn not_yet(path: &'static str) -> Key {
    Key { path, support: Support::NotYet }
}

/// All keys, in the order of the documentation.
pub const KEYS: &[Key] = &[
    built("schema"),
    built("extends"),
    built("tls"),
    built("tls.profile"),
    built("tls.versions"),
    built("tls.suites"),
    built("tls.groups"),
    built("tls.system-store"),
    built("tls.ca"),
    built("tls.pins"),
    not_yet("tls.fips"),
    built("tls.host"),
    built("tls.host.match"),
    built("tls.host.ca"),
    built("tls.host.certificate"),
    built("tls.host.key"),
    built("tls.host.insecure-skip-verification"),
    built("tls.host.pins"),
    built("egress"),
    built("egress.plain-http"),
    built("egress.redirects"),
    built("egress.proxy"),
    built("egress.source"),
    built("egress.source.hosts"),
    built("egress.source.denied-hosts"),
    built("egress.source.addresses"),
    built("egress.source.denied-addresses"),
    built("egress.source.proxy"),
    built("egress.registry"),
    built("egress.registry.hosts"),
    built("egress.registry.denied-hosts"),
    built("egress.registry.addresses"),
    built("egress.registry.denied-addresses"),
    built("egress.registry.proxy"),
    built("limits"),
    built("limits.connect"),
    built("limits.answer"),
    built("limits.commit"),
    built("limits.source-stall"),
    built("limits.registry-stall"),
    built("limits.component-idle"),
    built("limits.component-wait"),
    built("limits.component-cpu"),
    built("limits.component-memory"),
    built("limits.compile-cpu"),
    built("limits.compile-memory"),
    built("limits.attempts"),
    built("limits.back-off"),
    built("limits.source-attempts"),
    built("limits.source-back-off"),
    built("limits.start-overs"),
    built("limits.total"),
    built("flags"),
    built("flags.allow"),
    built("components"),
    built("components.built-in"),
    built("components.unlisted"),
    built("components.allow"),
    built("components.allow.digest"),
    built("components.allow.kinds"),
    built("components.allow.origins"),
    built("components.allow.hosts"),
    built("components.allow.methods"),
    built("components.allow.options"),
    built("components.allow.memory"),
    built("components.allow.cpu"),
    built("components.allow.idle"),
    built("components.allow.wait"),
    built("components.allow.output"),
    built("destinations"),
    built("destinations.overwrite"),
    built("destinations.layouts"),
    built("destinations.repository"),
    built("destinations.repository.match"),
    built("destinations.repository.tags"),
    built("destinations.repository.overwrite"),
    built("require"),
    built("require.checksum"),
    built("require.formats"),
    built("require.refused-hazards"),
    built("require.accepted-hazards"),
    built("require.max-size"),
    built("require.max-virtual-size"),
    built("require.encrypted-uploads"),
];

/// The key at `path`.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The keys right below `path`, for a message about one that is not among them.
pub(super) fn below(path: &str) -> Vec<&'static str> {
    let child = |key: &'static Key| {
        let rest = if path.is_empty() { key.path } else { key.path.strip_prefix(path)?.strip_prefix('.')? };
        (!rest.contains('.') && key.support == Support::Built).then_some(rest)
    };
    KEYS.iter().filter_map(child).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Group, Suite, Version};

    #[test]
    fn the_keys_below_a_path() {
        assert_eq!(
            below(""),
            ["schema", "extends", "tls", "egress", "limits", "flags", "components", "destinations", "require"]
        );
        assert_eq!(below("egress.source"), ["hosts", "denied-hosts", "addresses", "denied-addresses", "proxy"]);
    }

    #[test]
    fn the_page_has_every_name_of_tls() {
        let page = include_str!("../../../../docs/policy.md");
        for name in
            Version::ALL.iter().map(|version| version.as_str()).chain(Suite::ALL.iter().map(|suite| suite.as_str()))
        {
            assert!(page.contains(&format!("`{name}`")), "docs/policy.md lacks {name}");
        }
        for group in Group::ALL {
            assert!(page.contains(&format!("`{}`", group.as_str())), "docs/policy.md lacks {group:?}");
        }
    }
}
