//! The section `components`.

use super::limits::{bound_size, bound_time};
use super::section::{Invalid, Item, Section, sited};
use crate::oci::Digest;
use crate::policy::limits::{COMPONENT_CPU, COMPONENT_IDLE, COMPONENT_MEMORY, COMPONENT_WAIT};
use crate::policy::{ComponentKind, ComponentOrigin, ComponentRule, Components, Grant, RequestMethod, Sited};

/// The most bytes that a document may grant as output, and the fewest.
const OUTPUT: (u64, u64) = (1, 1 << 60);
/// Kinds that put bytes into the flow.
const WRITERS: [&str; 3] = ["source", "filter", "compressor"];

pub(super) fn components(section: &Section<'_>) -> Result<Components, Invalid> {
    let mut allow: Vec<ComponentRule> = Vec::new();
    for entry in section.sections("allow")? {
        let rule = rule(&entry)?;
        if let Some(earlier) = allow.iter().find(|earlier| covers(earlier, &rule)) {
            let message = format!(
                "an entry for `{}` is never reached: the one at {} is for all of it",
                rule.digest.value, earlier.digest.site
            );
            return Err(entry.invalid(&entry.span_of("digest").unwrap_or_default(), message));
        }
        allow.push(rule);
    }
    let (built_in, unlisted) = (section.boolean("built-in")?, section.boolean("unlisted")?);
    if let (Some(Item { value: false, span, .. }), Some(Item { value: false, .. }), []) =
        (&built_in, &unlisted, &*allow)
    {
        let message =
            "`components.built-in` and `components.unlisted` are false, and nothing is listed: no component could run";
        return Err(section.invalid(span, message));
    }
    Ok(Components { allow, built_in: built_in.map(Item::sited), unlisted: unlisted.map(Item::sited) })
}

fn rule(entry: &Section<'_>) -> Result<ComponentRule, Invalid> {
    let Some(Item { value: text, site, span }) = entry.string("digest")? else {
        let message = "an entry of `components.allow` needs `digest`: the component it is for";
        return Err(entry.invalid(&entry.span(), message));
    };
    let digest: Digest =
        text.parse().map_err(|why| entry.invalid(&span, format!("`components.allow.digest`: {why}")))?;
    let kinds = entry.names("kinds", ComponentKind::ALL, ComponentKind::as_str)?;
    let among = |fitting: &[&str]| kinds.is_empty() || kinds.iter().any(|kind| fitting.contains(&kind.value.as_str()));
    for (names, fitting, who) in
        [(&["hosts", "methods", "options"][..], &["source"][..], "a source"), (&["output"], &WRITERS, "what writes")]
    {
        let meaningless = names.iter().find_map(|name| Some((name, entry.span_of(name)?)));
        if let (Some((name, span)), false) = (meaningless, among(fitting)) {
            let message = format!("`components.allow.{name}` is for {who}, which `kinds` does not list");
            return Err(entry.invalid(&span, message));
        }
    }
    let grant = Grant {
        hosts: sited(entry.list("hosts")?),
        methods: sited(entry.names("methods", RequestMethod::ALL, RequestMethod::as_str)?),
        options: sited(entry.list("options")?),
        memory: bound_size(entry, "memory", (COMPONENT_MEMORY.0 as u64, COMPONENT_MEMORY.1 as u64))?
            .map(|item| Sited::new(usize::try_from(item.value).unwrap_or(usize::MAX), item.site)),
        cpu: bound_time(entry, "cpu", COMPONENT_CPU)?.map(Item::sited),
        idle: bound_time(entry, "idle", COMPONENT_IDLE)?.map(Item::sited),
        wait: bound_time(entry, "wait", COMPONENT_WAIT)?.map(Item::sited),
        output: bound_size(entry, "output", OUTPUT)?.map(Item::sited),
    };
    Ok(ComponentRule {
        digest: Sited::new(digest, site),
        kinds: sited(kinds),
        origins: sited(entry.names("origins", ComponentOrigin::ALL, ComponentOrigin::as_str)?),
        grant,
    })
}

/// Whether nothing is left for the later entry.
fn covers(earlier: &ComponentRule, later: &ComponentRule) -> bool {
    fn all<T: PartialEq>(earlier: &[Sited<T>], later: &[Sited<T>]) -> bool {
        let has = |one: &Sited<T>| earlier.iter().any(|other| other.value == one.value);
        earlier.is_empty() || (!later.is_empty() && later.iter().all(has))
    }
    earlier.digest.value == later.digest.value
        && all(&earlier.kinds, &later.kinds)
        && all(&earlier.origins, &later.origins)
}

#[cfg(test)]
mod tests {
    use super::super::tests::parsed;

    const DIGEST: &str = "digest = \"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"";

    #[test]
    fn entries_that_cannot_be_are_refused() {
        for (text, line, says) in [
            ("kinds = [\"source\"]".to_owned(), 2, "needs `digest`"),
            ("digest = \"sha256:0\"".to_owned(), 3, "`components.allow.digest`"),
            (format!("{DIGEST}\nkinds = [\"disk\"]"), 4, "longshore has: `source`, `filter`"),
            (format!("{DIGEST}\norigins = [\"disk\"]"), 4, "longshore has: `built-in`, `file`, `registry`"),
            (format!("{DIGEST}\nkinds = [\"filter\"]\nhosts = [\"a\"]"), 5, "is for a source, which `kinds` does not"),
            (format!("{DIGEST}\nkinds = [\"probe\"]\noutput = \"1MiB\""), 5, "is for what writes"),
            (format!("{DIGEST}\nhosts = []"), 4, "`components.allow.hosts` is empty"),
            (format!("{DIGEST}\nmethods = [\"PUT\"]"), 4, "longshore has: `GET`, `HEAD`"),
            (format!("{DIGEST}\noptions = [\"a=b\"]"), 4, "no key of an option"),
            (format!("{DIGEST}\nmemory = \"1MiB\""), 4, "expected from 4MiB to 4GiB"),
            (format!("{DIGEST}\ncpu = \"2h\""), 4, "expected from 1s to 1h"),
            (format!("{DIGEST}\nidle = \"2h\""), 4, "expected from 1s to 1h"),
            (format!("{DIGEST}\nwait = \"2days\""), 4, "expected from 1s to 1day"),
            (format!("{DIGEST}\noutput = \"0\""), 4, "expected from 1 to 1048576TiB"),
            (
                format!("{DIGEST}\n[[components.allow]]\nkinds = [\"probe\"]\n{DIGEST}"),
                6,
                "is never reached: the one at policy.toml:3",
            ),
        ] {
            let why = parsed(&format!("[[components.allow]]\n{text}")).unwrap_err();
            assert!(why.message.contains(says) && why.line == line, "expected `{says}` in `{why}`");
        }
    }
}
