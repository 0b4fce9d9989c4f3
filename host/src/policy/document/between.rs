//! What one section says and another makes void: whoever wrote it relies on something that never holds.

use super::section::{Invalid, Item, Section};
use crate::policy::{Authority, HostPattern, Policy, RepositoryPattern, Rules, Side, Trust};

/// The name in references to Docker Hub, and the host that is connected to for them.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// The first contradiction between sections of a policy that was read.
pub(super) fn contradictions(root: &Section<'_>, policy: &Policy) -> Result<(), Invalid> {
    if let Some(section) = root.section("egress")? {
        for side in ["source", "registry"] {
            let Some(rules) = section.section(side)? else { continue };
            for name in ["hosts", "denied-hosts"] {
                for Item { value, span, .. } in &rules.list::<HostPattern>(name)? {
                    not_docker_hub(&rules, value).map_err(|why| rules.invalid(span, why))?;
                }
            }
        }
        for Item { value, span, .. } in &section.list::<Authority>("plain-http")? {
            let shut = |side| HostPattern::from(value).shut_out(policy.egress.rules(side));
            if let (Some(why), Some(_)) = (shut(Side::Source), shut(Side::Registry)) {
                let message = format!("`{value}` is never spoken to, with or without TLS: {why}");
                return Err(section.invalid(span, message));
            }
        }
    }
    if let Some(section) = root.section("tls")? {
        for entry in section.sections("host")? {
            if let Some(Item { value, span, .. }) = pattern::<HostPattern>(&entry)? {
                not_docker_hub(&entry, &value).map_err(|why| entry.invalid(&span, why))?;
            }
        }
        let first = policy.tls.hosts.first();
        if let (Some(entry), Some(pin)) = (first, section.span_of("pins"))
            && matches!(entry.trust, Trust::Anybody(_))
            && entry.hosts.value.is_any()
        {
            let message =
                format!("`tls.pins` never count: the entry of `tls.host` at {} verifies nobody", entry.hosts.site);
            return Err(section.invalid(&pin, message));
        }
    }
    if let Some(section) = root.section("destinations")? {
        for entry in section.sections("repository")? {
            let Some(Item { value, span, .. }) = pattern::<RepositoryPattern>(&entry)? else { continue };
            if let Some(why) = connected_for(value.hosts()).shut_out(&policy.egress.registry) {
                return Err(entry.invalid(&span, format!("`{value}` can never be written: {why}")));
            }
        }
    }
    if let Some(section) = root.section("components")? {
        for entry in section.sections("allow")? {
            for Item { value, span, .. } in &entry.list::<HostPattern>("hosts")? {
                if let Some(why) = value.shut_out(&policy.egress.source) {
                    return Err(entry.invalid(span, format!("no source can ask `{value}`: {why}")));
                }
            }
        }
    }
    Ok(())
}

fn pattern<T>(entry: &Section<'_>) -> Result<Option<Item<T>>, Invalid>
where
    T: std::str::FromStr,
{
    let Some(Item { value, site, span }) = entry.string("match")? else { return Ok(None) };
    Ok(value.parse().ok().map(|value| Item { value, site, span }))
}

/// Nobody ever connects to the host in references to Docker Hub.
fn not_docker_hub(section: &Section<'_>, hosts: &HostPattern) -> Result<(), String> {
    let (named, connected) = DOCKER_HUB;
    if !hosts.is_host(named) {
        return Ok(());
    }
    let key = section.key("");
    let key = key.trim_end_matches('.');
    Err(format!(
        "`{named}` is never connected to: in `{key}` Docker Hub is `{connected}`, and `auth.docker.io` for tokens"
    ))
}

fn connected_for(hosts: &HostPattern) -> HostPattern {
    let (named, connected) = DOCKER_HUB;
    if hosts.is_host(named) { connected.parse().unwrap_or_else(|_| hosts.clone()) } else { hosts.clone() }
}

impl HostPattern {
    /// Why none of its hosts can be connected to under those rules, if that is so.
    fn shut_out(&self, rules: &Rules) -> Option<String> {
        if let Some(denied) = rules.denied_hosts.iter().find(|denied| denied.value.contains(self)) {
            return Some(format!("`{}` is denied at {}", denied.value, denied.site));
        }
        let first = rules.hosts.first().filter(|_| !rules.hosts.iter().any(|listed| listed.value.meets(self)))?;
        Some(format!("the hosts listed at {} do not have it", first.site))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parsed;

    #[test]
    fn what_another_section_makes_void_is_refused_where_it_stands() {
        const DIGEST: &str = "digest = \"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"";
        for (text, at, says) in [
            (
                "[egress.registry]\nhosts = [\"b.example\"]\n[[destinations.repository]]\nmatch = \"a.example/**\"",
                (5, 9),
                "`a.example/**` can never be written: the hosts listed at policy.toml:3 do not have it",
            ),
            (
                "[egress.registry]\ndenied-hosts = [\"*.example\"]\n[[destinations.repository]]\nmatch = \"a.example:5000/**\"",
                (5, 9),
                "`*.example` is denied at policy.toml:3",
            ),
            (
                &format!("[egress.source]\nhosts = [\"*.b\"]\n[[components.allow]]\n{DIGEST}\nhosts = [\"a\"]"),
                (6, 10),
                "no source can ask `a`",
            ),
            (
                "[egress]\nplain-http = [\"a:80\"]\n[egress.source]\nhosts = [\"b\"]\n[egress.registry]\ndenied-hosts = [\"a\"]",
                (3, 15),
                "`a:80` is never spoken to",
            ),
            (
                "[tls]\npins = [\"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"]\n\
                 [[tls.host]]\nmatch = \"*\"\ninsecure-skip-verification = true",
                (3, 1),
                "`tls.pins` never count: the entry of `tls.host` at policy.toml:5 verifies nobody",
            ),
            ("[egress.registry]\ndenied-hosts = [\"docker.io\"]", (3, 17), "Docker Hub is `registry-1.docker.io`"),
            ("[[tls.host]]\nmatch = \"docker.io\"\ncertificate = \"c\"\nkey = \"k\"", (3, 9), "never connected to"),
        ] {
            let why = parsed(text).expect_err(text);
            assert!(
                why.message.contains(says) && (why.line, why.column) == at,
                "expected `{says}` at {at:?} in `{why}`"
            );
        }
    }

    #[test]
    fn what_may_hold_for_some_host_is_taken() {
        for text in [
            "[egress.registry]\nhosts = [\"*.example\"]\n[[destinations.repository]]\nmatch = \"a.example/**\"",
            "[egress.registry]\nhosts = [\"a.example\"]\n[[destinations.repository]]\nmatch = \"*.example/**\"",
            "[egress.registry]\nhosts = [\"registry-1.docker.io\"]\n[[destinations.repository]]\nmatch = \"docker.io/a/*\"",
            "[egress.registry]\ndenied-hosts = [\"a.example:80\"]\n[[destinations.repository]]\nmatch = \"a.example/**\"",
            "[egress]\nplain-http = [\"a:80\"]\n[egress.source]\nhosts = [\"b\"]",
            "[egress.source]\ndenied-hosts = [\"*\"]",
        ] {
            assert!(parsed(text).is_ok(), "{text}: {:?}", parsed(text).err());
        }
    }
}
