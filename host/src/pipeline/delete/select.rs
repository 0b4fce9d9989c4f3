//! Which images go. Pure: what is there is known.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::found::{Held, Images};
use crate::error::{Code, Error, Result, Stage};
use crate::oci::{Digest, Tag};
use crate::policy::TagPattern;

/// Which images are to go.
#[derive(Clone, Debug)]
pub enum Selection {
    /// What that tag leads to.
    Tag(Tag, Companions),
    /// The image of that digest.
    Digest(Digest, Companions),
    /// Those that a rule names.
    Rule(Rule),
}

/// What becomes of other tags that lead to the same image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Companions {
    /// Nothing is deleted if there are any.
    Refuse,
    /// They go too.
    Go,
    /// They and the image stay: the tag alone goes.
    Untouched,
}

/// A rule. An image goes only if all of it holds for all its tags.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Tags that it holds for; every one without.
    pub tags: Option<TagPattern>,
    /// Images go that are older than this moment.
    pub before: Option<SystemTime>,
    /// So many of the youngest stay.
    pub keep: usize,
    /// Only images without a tag.
    pub untagged: bool,
}

/// What goes.
#[derive(Debug)]
pub(super) struct Selected {
    /// In the order in which they are to be deleted.
    pub(super) images: Vec<Held>,
    /// How many images stay.
    pub(super) kept: usize,
    /// How many of them because nobody says how old they are.
    pub(super) undated: usize,
    /// Whether only the tags go.
    alone: bool,
}

impl Selection {
    /// Whether it matters how old images are.
    pub(super) const fn is_dated(&self) -> bool {
        matches!(self, Self::Rule(rule) if rule.before.is_some() || rule.keep > 0)
    }
}

impl Selected {
    /// As entries of a layout's index.
    pub(super) fn entries(&self) -> Vec<(Digest, Option<Tag>)> {
        let of = |image: &Held| {
            let tags: Vec<Option<Tag>> = match self.alone {
                true => image.tags.iter().cloned().map(Some).collect(),
                false => vec![None],
            };
            tags.into_iter().map(|tag| (image.digest, tag)).collect::<Vec<_>>()
        };
        self.images.iter().flat_map(of).collect()
    }
}

/// Selects.
///
/// # Errors
/// `registry-not-found` if what is named is not there, `usage` if more would go than was named.
pub(super) fn select(which: &Selection, images: Images) -> Result<Selected> {
    let total = images.all.len();
    let (going, undated, alone) = match which {
        Selection::Tag(tag, companions) => {
            let image = images.all.iter().find(|image| image.tags.contains(tag));
            let image = image.ok_or_else(|| absent(&format!("tag `{tag}`")))?;
            let others: Vec<&Tag> = image.tags.iter().filter(|other| *other != tag).collect();
            match companions {
                Companions::Refuse if !others.is_empty() => return Err(shared(&image.digest, &others)),
                Companions::Untouched => (vec![Held { tags: vec![tag.clone()], ..image.clone() }], 0, true),
                Companions::Refuse | Companions::Go => (vec![image.clone()], 0, false),
            }
        }
        Selection::Digest(digest, companions) => {
            let image = images.all.iter().find(|image| image.digest == *digest);
            let image = image.ok_or_else(|| absent(&digest.to_string()))?;
            match companions {
                Companions::Refuse if !image.tags.is_empty() => {
                    return Err(shared(digest, &image.tags.iter().collect::<Vec<_>>()));
                }
                _ => (vec![image.clone()], 0, false),
            }
        }
        Selection::Rule(rule) => {
            let (going, undated) = by_rule(rule, &images.all);
            (going, undated, false)
        }
    };
    if alone {
        return Ok(Selected { images: going, kept: total, undated, alone });
    }
    let gone: BTreeSet<Digest> = going.iter().map(|image| image.digest).collect();
    let staying: Vec<&Held> = images.all.iter().filter(|image| !gone.contains(&image.digest)).collect();
    if let Some((index, image)) = listed(&staying, &gone)
        && !matches!(which, Selection::Rule(_))
    {
        let by = index.tags.first().map_or_else(String::new, |tag| format!(", tagged {tag},"));
        let message = format!("the image {image} is one of those that the index {}{by} lists", index.digest);
        return Err(usage(message).hint("delete the index first; its images go with it"));
    }
    let mut selected = Selected { images: going, kept: staying.len(), undated, alone };
    // What an index that stays lists stays.
    let kept: BTreeSet<Digest> = staying.iter().flat_map(|image| image.lists.iter().copied()).collect();
    let before = selected.images.len();
    selected.images.retain(|image| !kept.contains(&image.digest));
    selected.kept += before - selected.images.len();
    selected.with_what_indexes_list(&staying, &kept);
    Ok(selected)
}

impl Selected {
    /// What only indexes list that go goes behind them: nobody would find it again.
    fn with_what_indexes_list(&mut self, staying: &[&Held], kept: &BTreeSet<Digest>) {
        let mut known: BTreeSet<Digest> =
            self.images.iter().chain(staying.iter().copied()).map(|image| image.digest).collect();
        self.images.sort_by_key(|image| !image.is_index);
        let listed: Vec<Digest> = self.images.iter().flat_map(|image| image.lists.iter().copied()).collect();
        for digest in listed {
            if !kept.contains(&digest) && known.insert(digest) {
                let held = Held { digest, is_index: false, tags: Vec::new(), lists: Vec::new(), dated: None };
                self.images.push(held);
            }
        }
    }
}

/// An index that stays, and an image of those that go that it lists.
fn listed<'a>(staying: &[&'a Held], gone: &BTreeSet<Digest>) -> Option<(&'a Held, Digest)> {
    staying.iter().find_map(|index| Some((*index, *index.lists.iter().find(|digest| gone.contains(*digest))?)))
}

/// Those that a rule names, and how many stay because nobody says how old they are.
fn by_rule(rule: &Rule, all: &[Held]) -> (Vec<Held>, usize) {
    let covered = |image: &&Held| {
        let by_tags = rule.tags.as_ref().is_none_or(|pattern| image.tags.iter().all(|tag| pattern.covers(tag)));
        by_tags && (if rule.untagged { image.tags.is_empty() } else { !image.tags.is_empty() })
    };
    let mut going: Vec<&Held> = all.iter().filter(covered).collect();
    let dated = rule.before.is_some() || rule.keep > 0;
    let before = going.len();
    if dated {
        going.retain(|image| image.dated.is_some());
    }
    let undated = before - going.len();
    // The youngest first.
    going.sort_by_key(|image| std::cmp::Reverse(image.dated));
    let going = going.into_iter().skip(rule.keep);
    let old = |image: &&Held| rule.before.is_none_or(|before| image.dated.is_some_and(|date| date < before));
    let mut going: Vec<Held> = going.filter(old).cloned().collect();
    going.sort_by_key(|image| (image.dated.is_none(), image.dated));
    (going, undated)
}

fn absent(what: &str) -> Error {
    Error::new(Code::RegistryNotFound, Stage::Plan, format!("there is no {what} that could be deleted"))
}

fn shared(digest: &Digest, tags: &[&Tag]) -> Error {
    let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
    usage(format!("the image {digest} would go with its tags: {}", tags.join(", "))).hint(
        "--with-tags lets them go too; --tag-only takes the tag away and leaves the image, where the registry can",
    )
}

fn usage(message: String) -> Error {
    Error::new(Code::Usage, Stage::Plan, message)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn image(name: &str, tags: &[&str], day: Option<u64>) -> Held {
        let dated = day.map(|day| UNIX_EPOCH + Duration::from_secs(day * 86400));
        let tags = tags.iter().map(|tag| tag.parse().unwrap()).collect();
        Held { digest: digest(name), is_index: false, tags, lists: Vec::new(), dated }
    }

    fn index(name: &str, tags: &[&str], lists: &[&str]) -> Held {
        Held { is_index: true, lists: lists.iter().map(|name| digest(name)).collect(), ..image(name, tags, Some(1)) }
    }

    fn names(which: &Selection, all: &[Held]) -> Result<(Vec<Digest>, usize)> {
        let selected = select(which, Images { all: all.to_vec() })?;
        Ok((selected.images.iter().map(|image| image.digest).collect(), selected.kept))
    }

    fn tag(tag: &str, companions: Companions) -> Selection {
        Selection::Tag(tag.parse().unwrap(), companions)
    }

    #[test]
    fn an_image_goes_with_its_tags_only_if_that_is_wanted() {
        let all = [image("a", &["1", "2"], None), image("b", &["3"], None)];
        assert_eq!(names(&tag("3", Companions::Refuse), &all).unwrap(), (vec![digest("b")], 1));
        let refused = names(&tag("1", Companions::Refuse), &all).unwrap_err();
        assert!(refused.code() == Code::Usage && refused.to_string().ends_with("tags: 2"), "{refused}");
        assert_eq!(names(&tag("1", Companions::Go), &all).unwrap(), (vec![digest("a")], 1));
        let alone = select(&tag("1", Companions::Untouched), Images { all: all.to_vec() }).unwrap();
        assert_eq!(alone.entries(), [(digest("a"), Some("1".parse().unwrap()))]);
        assert_eq!(names(&tag("4", Companions::Go), &all).unwrap_err().code(), Code::RegistryNotFound);
        let by_digest = |companions| names(&Selection::Digest(digest("b"), companions), &all);
        assert!(by_digest(Companions::Refuse).unwrap_err().to_string().ends_with("tags: 3"));
        assert_eq!(by_digest(Companions::Go).unwrap().0, [digest("b")]);
    }

    #[test]
    fn an_index_goes_before_what_only_it_lists() {
        let all = [image("x", &["x"], None), index("one", &["1"], &["x", "y", "z"]), index("two", &["2"], &["z"])];
        let (gone, kept) = names(&tag("1", Companions::Refuse), &all).unwrap();
        assert_eq!((gone, kept), (vec![digest("one"), digest("y")], 2), "x has a tag, and z is listed elsewhere");
        let listed = names(&tag("x", Companions::Refuse), &all).unwrap_err();
        assert!(listed.to_string().contains("is one of those that the index"), "{listed}");
        let everything = Selection::Rule(Rule::default());
        assert_eq!(names(&everything, &all).unwrap().0.len(), 5);
    }

    #[test]
    fn a_rule_holds_for_all_tags_of_an_image() {
        let all = [
            image("a", &["v1", "latest"], Some(10)),
            image("b", &["v2"], Some(20)),
            image("c", &["v3"], Some(30)),
            image("d", &["v4"], None),
            image("e", &[], Some(5)),
        ];
        let rule = |rule: Rule| names(&Selection::Rule(rule), &all).unwrap().0;
        let tags = || Some("v*".parse().unwrap());
        let day = |day: u64| Some(UNIX_EPOCH + Duration::from_secs(day * 86400));
        assert_eq!(rule(Rule { tags: tags(), ..Rule::default() }), ["b", "c", "d"].map(digest));
        assert_eq!(rule(Rule { tags: tags(), before: day(25), ..Rule::default() }), ["b"].map(digest));
        assert_eq!(rule(Rule { tags: tags(), keep: 1, ..Rule::default() }), ["b"].map(digest), "d has no date");
        assert_eq!(rule(Rule { before: day(25), keep: 2, ..Rule::default() }), ["a"].map(digest));
        assert_eq!(rule(Rule { untagged: true, ..Rule::default() }), ["e"].map(digest));
        let selected = select(&Selection::Rule(Rule { keep: 9, ..Rule::default() }), Images { all: all.to_vec() });
        let selected = selected.unwrap();
        assert_eq!((selected.images.len(), selected.kept, selected.undated), (0, 5, 1));
    }
}
