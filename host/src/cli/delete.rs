//! `delete`: which images go, for people or as JSON, and gone if that is wanted.

use std::time::SystemTime;

use super::alone::alone;
use super::args::Delete;
use super::list::registry;
use super::locate::{self, Destination};
use super::{auth, messages, policy};
use crate::error::{Code, Error, Result, Stage};
use crate::oci::{Reference, Tag};
use crate::pipeline::{self, Companions, DeleteAt, DeletePlan, DeleteRule, Deleted, Selection};

/// Looks, deletes if it may, and tells.
pub(super) fn run(delete: &Delete) -> Result<()> {
    let plan = planned(delete)?;
    let deleted = alone(pipeline::delete(&plan))??;
    if delete.json {
        return messages::document(serde_json::to_string_pretty(&deleted));
    }
    for image in &deleted.images {
        let tags = if image.tags.is_empty() { String::new() } else { format!("  {}", image.tags.join(", ")) };
        let created = image.created.as_ref().map_or_else(String::new, |date| format!("  {date}"));
        messages::data(&messages::harmless(&format!("{}@{}{tags}{created}", image.name, image.digest)))?;
    }
    messages::line(&summary(&deleted, delete.tag_only));
    if deleted.deleted && matches!(plan.at, DeleteAt::Layout(_)) && !deleted.images.is_empty() {
        messages::line("their blobs stay until `longshore gc` clears them away");
    }
    Ok(())
}

fn summary(deleted: &Deleted, tag_only: bool) -> String {
    let count = deleted.images.len();
    let what = match (tag_only, count) {
        (true, 1) => "tag",
        (true, _) => "tags",
        (false, 1) => "image",
        (false, _) => "images",
    };
    let undated = match deleted.undated {
        0 => String::new(),
        undated => format!(", {undated} of them because nobody says how old they are"),
    };
    let kept = format!("{} stay{undated}", deleted.kept);
    match deleted.deleted {
        true => format!("deleted {count} {what}; {kept}"),
        false => format!("would delete {count} {what}; {kept}: --yes does it"),
    }
}

fn planned(delete: &Delete) -> Result<DeletePlan> {
    let rule = rule(delete)?;
    let (at, named) = place(delete)?;
    let which = match (named, rule) {
        (Some(_), Some(_)) => return Err(usage("one image is named, and a rule for many")),
        (Some(which), None) => which,
        (None, Some(_)) if delete.with_tags || delete.tag_only => {
            return Err(usage(
                "--with-tags and --tag-only are for one image: a rule holds for all tags of those it names",
            ));
        }
        (None, Some(rule)) if rule.untagged && !matches!(at, DeleteAt::Layout(_)) => {
            return Err(usage("--untagged: a registry does not tell which images without a tag it has")
                .hint("on its own machine: longshore gc distribution:DIR --untagged"));
        }
        (None, Some(rule)) => Selection::Rule(rule),
        (None, None) => {
            return Err(usage("which images of it? name a tag or a digest, or a rule: --tags, --older-than, --keep")
                .hint("--tags '*' deletes all of them"));
        }
    };
    let repository = match &at {
        DeleteAt::Registry(repository, ..) | DeleteAt::Repository(repository, _) => Some(repository),
        DeleteAt::Layout(_) => None,
    };
    let policy = policy::effective(&delete.policy, repository)?;
    Ok(DeletePlan { which, remove: delete.yes, policy, at })
}

/// Where, and which image if one is named.
fn place(delete: &Delete) -> Result<(DeleteAt, Option<Selection>)> {
    let companions = match (delete.with_tags, delete.tag_only) {
        (true, _) => Companions::Go,
        (_, true) => Companions::Untouched,
        _ => Companions::Refuse,
    };
    let tagged = |tag: Tag| Selection::Tag(tag, companions);
    match (registry(&delete.at), &delete.repositories) {
        (Some(host), Some(pattern)) => {
            // Any repository says which registry it is.
            let reference: Reference = format!("{host}/repository").parse().map_err(|why| usage(&format!("{why}")))?;
            let repository = reference.repository;
            let pattern = format!("{}/{pattern}", repository.registry());
            let pattern = pattern.parse().map_err(|why| usage(&format!("--repositories: {why}")))?;
            let credentials = auth::credentials(delete.auth_file.as_deref(), &repository)?;
            return Ok((DeleteAt::Registry(repository, pattern, credentials), None));
        }
        (Some(_), None) => {
            return Err(usage("a whole registry is named: in which of its repositories? --repositories 'PATTERN'"));
        }
        (None, Some(_)) => return Err(usage("--repositories is for a registry, docker://host[:port]")),
        (None, None) => {}
    }
    Ok(match locate::image(&delete.at)? {
        Destination::Layout(folder, tag) => (DeleteAt::Layout(folder), tag.map(tagged)),
        Destination::Registry(Reference { repository, tag, digest }) => {
            let which = match (digest, tag) {
                (Some(_), _) if delete.tag_only => return Err(usage("--tag-only: a tag is not named, but a digest")),
                (Some(digest), _) => Some(Selection::Digest(digest, companions)),
                (None, tag) => tag.map(tagged),
            };
            let credentials = auth::credentials(delete.auth_file.as_deref(), &repository)?;
            (DeleteAt::Repository(repository, credentials), which)
        }
    })
}

fn rule(delete: &Delete) -> Result<Option<DeleteRule>> {
    if delete.keep == Some(0) {
        return Err(usage("--keep 0 keeps nothing").hint("--tags '*' deletes all of them"));
    }
    let tags = delete.tags.as_deref().map(str::parse).transpose();
    let before = match delete.older_than {
        None => None,
        Some(age) => Some(SystemTime::now().checked_sub(age).ok_or_else(|| usage("--older-than: before all time"))?),
    };
    let rule = DeleteRule {
        tags: tags.map_err(|why: crate::policy::MalformedDestination| usage(&format!("--tags: {why}")))?,
        before,
        keep: delete.keep.unwrap_or_default(),
        untagged: delete.untagged,
    };
    let is_one = rule.tags.is_some() || rule.before.is_some() || delete.keep.is_some() || rule.untagged;
    Ok(is_one.then_some(rule))
}

fn usage(message: &str) -> Error {
    Error::new(Code::Usage, Stage::Plan, message)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Args, Command};
    use super::*;

    fn planned_of(arguments: &[&str]) -> Result<DeletePlan> {
        let all = ["longshore", "delete"].iter().chain(arguments);
        let Command::Delete(delete) = Args::try_parse_from(all).unwrap().command else { panic!() };
        planned(&delete)
    }

    #[test]
    fn one_image_is_named_or_a_rule() {
        let digest = format!("r.example/vm@{}", crate::oci::Digest::of(b""));
        for arguments in [&["r.example/vm:1"][..], &["oci:x:1"], &[&digest], &["docker://r.example/vm:1", "--tag-only"]]
        {
            assert!(!matches!(planned_of(arguments).unwrap().which, Selection::Rule(_)), "{arguments:?}");
        }
        for arguments in [
            &["r.example/vm", "--tags", "v*"][..],
            &["docker://r.example", "--repositories", "vm/**", "--older-than", "30d"],
            &["oci:x", "--keep", "3"],
            &["oci:x", "--untagged"],
        ] {
            assert!(matches!(planned_of(arguments).unwrap().which, Selection::Rule(_)), "{arguments:?}");
        }
        for arguments in [
            &["r.example/vm"][..],
            &["oci:x"],
            &["docker://r.example", "--tags", "*"],
            &["docker://r.example"],
            &["r.example/vm:1", "--tags", "*"],
            &["r.example/vm", "--tags", "a b"],
            &["r.example/vm", "--repositories", "x", "--tags", "*"],
            &["docker://r.example", "--repositories", "X", "--tags", "*"],
            &["r.example/vm", "--untagged"],
            &["oci:x", "--keep", "0"],
            &["r.example/vm", "--keep", "1", "--with-tags"],
            &[&digest, "--tag-only"],
        ] {
            assert_eq!(planned_of(arguments).unwrap_err().code(), Code::Usage, "{arguments:?}");
        }
    }
}
