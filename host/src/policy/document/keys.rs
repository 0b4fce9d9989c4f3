//! Every key of the document. What is not here is unknown.

/// All keys, in the order of the documentation.
pub const KEYS: &[&str] = &[
    "schema",
    "extends",
    "tls",
    "tls.profile",
    "tls.versions",
    "tls.suites",
    "tls.groups",
    "tls.system-store",
    "tls.ca",
    "tls.pins",
    "tls.session-tickets",
    "tls.fips",
    "tls.host",
    "tls.host.match",
    "tls.host.ca",
    "tls.host.certificate",
    "tls.host.key",
    "tls.host.insecure-skip-verification",
    "tls.host.pins",
    "egress",
    "egress.plain-http",
    "egress.redirects",
    "egress.proxy",
    "egress.source",
    "egress.source.hosts",
    "egress.source.denied-hosts",
    "egress.source.addresses",
    "egress.source.denied-addresses",
    "egress.source.proxy",
    "egress.registry",
    "egress.registry.hosts",
    "egress.registry.denied-hosts",
    "egress.registry.addresses",
    "egress.registry.denied-addresses",
    "egress.registry.proxy",
    "limits",
    "limits.connect",
    "limits.answer",
    "limits.commit",
    "limits.source-stall",
    "limits.registry-stall",
    "limits.client-head",
    "limits.client-stall",
    "limits.client-rate",
    "limits.client-away",
    "limits.component-idle",
    "limits.component-wait",
    "limits.component-cpu",
    "limits.component-memory",
    "limits.compile-cpu",
    "limits.compile-memory",
    "limits.attempts",
    "limits.back-off",
    "limits.source-attempts",
    "limits.source-back-off",
    "limits.start-overs",
    "limits.total",
    "flags",
    "flags.allow",
    "components",
    "components.built-in",
    "components.unlisted",
    "components.allow",
    "components.allow.digest",
    "components.allow.kinds",
    "components.allow.origins",
    "components.allow.hosts",
    "components.allow.methods",
    "components.allow.options",
    "components.allow.memory",
    "components.allow.cpu",
    "components.allow.idle",
    "components.allow.wait",
    "components.allow.output",
    "destinations",
    "destinations.overwrite",
    "destinations.layouts",
    "destinations.repository",
    "destinations.repository.match",
    "destinations.repository.tags",
    "destinations.repository.overwrite",
    "require",
    "require.checksum",
    "require.formats",
    "require.refused-hazards",
    "require.accepted-hazards",
    "require.max-size",
    "require.max-virtual-size",
    "require.encrypted-uploads",
];

/// The key at `path`.
pub(super) fn find(path: &str) -> Option<&'static str> {
    KEYS.iter().copied().find(|key| *key == path)
}

/// The keys right below `path`, for a message about one that is not among them.
pub(super) fn below(path: &str) -> Vec<&'static str> {
    let child = |key: &'static str| {
        let rest = if path.is_empty() { key } else { key.strip_prefix(path)?.strip_prefix('.')? };
        (!rest.contains('.')).then_some(rest)
    };
    KEYS.iter().copied().filter_map(child).collect()
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
