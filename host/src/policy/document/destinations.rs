//! The section `destinations`.

use super::section::{Invalid, Item, Section};
use crate::policy::{Destinations, RepositoryPattern, RepositoryRule, Sited};

pub(super) fn destinations(section: &Section<'_>) -> Result<Destinations, Invalid> {
    let mut repositories: Vec<RepositoryRule> = Vec::new();
    for entry in section.sections("repository")? {
        let rule = repository(&entry)?;
        let (new, covers) = (&rule.repositories.value, |earlier: &&RepositoryRule| {
            earlier.repositories.value.contains(&rule.repositories.value)
        });
        if let Some(earlier) = repositories.iter().find(covers).map(|earlier| &earlier.repositories) {
            let message = format!("`{new}` is never reached: `{}` at {} covers it", earlier.value, earlier.site);
            return Err(entry.invalid(&entry.span_of("match").unwrap_or_default(), message));
        }
        repositories.push(rule);
    }
    Ok(Destinations {
        repositories,
        layouts: section.boolean("layouts")?.map(Item::sited),
        overwrite: section.boolean("overwrite")?.map(Item::sited),
    })
}

fn repository(entry: &Section<'_>) -> Result<RepositoryRule, Invalid> {
    let Some(Item { value: pattern, site, span }) = entry.string("match")? else {
        let message = "an entry of `destinations.repository` needs `match`: the repositories it is for";
        return Err(entry.invalid(&entry.span(), message));
    };
    let pattern: RepositoryPattern =
        pattern.parse().map_err(|why| entry.invalid(&span, format!("`destinations.repository.match`: {why}")))?;
    Ok(RepositoryRule {
        repositories: Sited::new(pattern, site),
        tags: entry.list("tags")?.into_iter().map(Item::sited).collect(),
        overwrite: entry.boolean("overwrite")?.map(Item::sited),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::parsed;

    #[test]
    fn entries_that_cannot_be_are_refused() {
        for (text, line, says) in [
            ("tags = [\"a\"]", 2, "needs `match`"),
            ("match = \"vm\"", 3, "`vm` is not HOST[:PORT]/REPOSITORY"),
            ("match = \"a.b/c\"\ntags = []", 4, "`destinations.repository.tags` is empty"),
            ("match = \"a.b/c\"\ntags = [\"a b\"]", 4, "`a b` is no tag"),
            (
                "match = \"a.b/*\"\n[[destinations.repository]]\nmatch = \"a.b/c\"",
                5,
                "never reached: `a.b/*` at policy.toml:3",
            ),
        ] {
            let why = parsed(&format!("[[destinations.repository]]\n{text}")).unwrap_err();
            assert!(why.message.contains(says) && why.line == line, "expected `{says}` in `{why}`");
        }
    }
}
