//! Which images go. Pure: what is there is known.

use std::collections::{BTreeMap, BTreeSet};
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
    pub(super) alone: bool,
}

impl Selection {
    /// Whether it matters how old images are.
    pub(super) const fn is_dated(&self) -> bool {
        matches!(self, Self::Rule(rule) if rule.before.is_some() || rule.keep > 0)
    }
}

impl Selected {
    /// As entries of a layout's index: exactly those that were seen.
    pub(super) fn entries(&self) -> Vec<(Digest, Option<String>)> {
        let of = |image: &Held| {
            let named = image.called().map(|name| Some(name.to_owned()));
            // Where it is listed without a name too.
            let all: Vec<_> = named.chain((!self.alone).then_some(None)).collect();
            all.into_iter().map(|name| (image.digest, name)).collect::<Vec<_>>()
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
            let others: Vec<&str> = image.called().filter(|other| *other != tag.as_str()).collect();
            match companions {
                Companions::Refuse if !others.is_empty() => return Err(shared(&image.digest, &others)),
                Companions::Untouched => {
                    (vec![Held { tags: vec![tag.clone()], names: Vec::new(), ..image.clone() }], 0, true)
                }
                Companions::Refuse | Companions::Go => (vec![image.clone()], 0, false),
            }
        }
        Selection::Digest(digest, companions) => {
            let image = images.all.iter().find(|image| image.digest == *digest);
            let image = image.ok_or_else(|| absent(&digest.to_string()))?;
            match companions {
                Companions::Refuse if image.called().next().is_some() => {
                    return Err(shared(digest, &image.called().collect::<Vec<_>>()));
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
    let ordered: Vec<Digest> = going.iter().map(|image| image.digest).collect();
    let gone: BTreeSet<Digest> = going.iter().map(|image| image.digest).collect();
    let (going, staying): (Vec<Held>, Vec<Held>) =
        images.all.into_iter().partition(|image| gone.contains(&image.digest));
    if let Some((index, image)) = listed(&staying, &gone)
        && !matches!(which, Selection::Rule(_))
    {
        let by = index.tags.first().map_or_else(String::new, |tag| format!(", tagged {tag},"));
        let message = format!("the image {image} is one of those that the index {}{by} lists", index.digest);
        return Err(usage(message).hint("delete the index first; its images go with it"));
    }
    // In the order of the rule.
    let order: BTreeMap<Digest, usize> = ordered.iter().enumerate().map(|(at, digest)| (*digest, at)).collect();
    let untagged = matches!(which, Selection::Rule(rule) if rule.untagged);
    let (mut images, kept) = closed(going, &staying, untagged);
    images.sort_by_key(|image| order.get(&image.digest).copied());
    let mut selected = Selected { kept: total - images.len(), images, undated, alone };
    selected.with_what_indexes_list(&kept);
    Ok(selected)
}

/// Of what is to go what nothing that stays leads to, and everything that stays: what an index that stays lists stays, and so on; and,
/// where images go because nobody names them, what is about one that stays.
fn closed(mut going: Vec<Held>, staying: &[Held], untagged: bool) -> (Vec<Held>, BTreeSet<Digest>) {
    let lists = |image: &Held| std::iter::once(image.digest).chain(image.lists.iter().copied()).collect::<Vec<_>>();
    let mut kept: BTreeSet<Digest> = staying.iter().flat_map(lists).collect();
    loop {
        let about_kept = |image: &Held| {
            // One of another algorithm may be about anything.
            image.subject.as_ref().is_some_and(|text| text.parse().map_or(true, |digest| kept.contains(&digest)))
        };
        let (back, gone): (Vec<_>, Vec<_>) =
            going.into_iter().partition(|image| kept.contains(&image.digest) || untagged && about_kept(image));
        if back.is_empty() {
            return (gone, kept);
        }
        kept.extend(back.iter().flat_map(lists));
        going = gone;
    }
}

impl Selected {
    /// What only indexes list that go goes behind them: nobody would find it again.
    fn with_what_indexes_list(&mut self, kept: &BTreeSet<Digest>) {
        let mut known: BTreeSet<Digest> = self.images.iter().map(|image| image.digest).collect();
        self.images.sort_by_key(|image| !image.is_index);
        let listed: Vec<Digest> = self.images.iter().flat_map(|image| image.lists.iter().copied()).collect();
        for digest in listed {
            if !kept.contains(&digest) && known.insert(digest) {
                self.images.push(Held {
                    digest,
                    is_index: false,
                    tags: Vec::new(),
                    names: Vec::new(),
                    lists: Vec::new(),
                    subject: None,
                    dated: None,
                });
            }
        }
    }
}

/// An index that stays, and an image of those that go that it lists.
fn listed<'a>(staying: &'a [Held], gone: &BTreeSet<Digest>) -> Option<(&'a Held, Digest)> {
    staying.iter().find_map(|index| Some((index, *index.lists.iter().find(|digest| gone.contains(*digest))?)))
}

/// Those that a rule names, and how many stay because nobody says how old they are.
fn by_rule(rule: &Rule, all: &[Held]) -> (Vec<Held>, usize) {
    let covered = |image: &&Held| {
        let by_tags = rule.tags.as_ref().is_none_or(|pattern| image.tags.iter().all(|tag| pattern.covers(tag)));
        // Another name than a tag is one that no rule can speak of.
        by_tags
            && image.names.is_empty()
            && (if rule.untagged { image.tags.is_empty() } else { !image.tags.is_empty() })
    };
    let mut going: Vec<&Held> = all.iter().filter(covered).collect();
    let dated = rule.before.is_some() || rule.keep > 0;
    let before = going.len();
    if dated {
        going.retain(|image| image.dated.is_some());
    }
    let undated = before - going.len();
    let old = |image: &&Held| rule.before.is_none_or(|before| image.dated.is_some_and(|date| date < before));
    going.retain(old);
    // The youngest first. Those stay that are so of what everything else of the rule names.
    going.sort_by_key(|image| std::cmp::Reverse(image.dated));
    let mut going: Vec<Held> = going.into_iter().skip(rule.keep).cloned().collect();
    going.sort_by_key(|image| (image.dated.is_none(), image.dated));
    (going, undated)
}

fn absent(what: &str) -> Error {
    Error::new(Code::RegistryNotFound, Stage::Plan, format!("there is no {what} that could be deleted"))
}

fn shared(digest: &Digest, tags: &[&str]) -> Error {
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
        Held { digest: digest(name), is_index: false, tags, names: Vec::new(), lists: Vec::new(), subject: None, dated }
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
        assert_eq!(alone.entries(), [(digest("a"), Some("1".to_owned()))]);
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
    fn what_stays_is_all_that_anything_leads_to_that_stays() {
        let all = [
            index("stays", &["keep"], &["inner", "x"]),
            index("inner", &["v1"], &["m"]),
            image("m", &["v2"], None),
            image("x", &[], None),
            image("alone", &["v3"], None),
        ];
        let rule = Selection::Rule(Rule { tags: Some("v*".parse().unwrap()), ..Rule::default() });
        assert_eq!(names(&rule, &all).unwrap(), (vec![digest("alone")], 4));
        // What is about it too, if things go because they have no tag.
        let about = |name: &str, subject: String| Held { subject: Some(subject), ..image(name, &[], Some(1)) };
        let all = [
            image("a", &["1"], None),
            about("second", digest("signature").to_string()),
            about("signature", digest("a").to_string()),
            about("lost", digest("gone").to_string()),
            about("other", "sha512:abc".to_owned()),
        ];
        let untagged = Selection::Rule(Rule { untagged: true, ..Rule::default() });
        assert_eq!(names(&untagged, &all).unwrap(), (vec![digest("lost")], 4));
    }

    #[test]
    fn a_name_that_is_no_tag_is_a_name() {
        let named = |tags: &[&str]| Held { names: vec!["r.example/x:1".to_owned()], ..image("a", tags, Some(1)) };
        let all = [named(&["1"])];
        let refused = names(&tag("1", Companions::Refuse), &all).unwrap_err();
        assert!(refused.to_string().ends_with("tags: r.example/x:1"), "{refused}");
        assert!(names(&Selection::Digest(digest("a"), Companions::Refuse), &[named(&[])]).is_err());
        let selected = select(&tag("1", Companions::Go), Images { all: all.to_vec() }).unwrap();
        let entry = |name: Option<&str>| (digest("a"), name.map(str::to_owned));
        assert_eq!(selected.entries(), [entry(Some("1")), entry(Some("r.example/x:1")), entry(None)]);
        for rule in [
            Rule { tags: Some("*".parse().unwrap()), ..Rule::default() },
            Rule { before: Some(UNIX_EPOCH + Duration::from_secs(9 * 86400)), ..Rule::default() },
            Rule { untagged: true, ..Rule::default() },
        ] {
            for tags in [&["1"][..], &[]] {
                assert_eq!(names(&Selection::Rule(rule.clone()), &[named(tags)]).unwrap(), (Vec::new(), 1));
            }
        }
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
        assert_eq!(rule(Rule { before: day(25), keep: 1, ..Rule::default() }), ["a"].map(digest), "c is young");
        assert_eq!(rule(Rule { before: day(25), keep: 2, ..Rule::default() }), []);
        assert_eq!(rule(Rule { untagged: true, ..Rule::default() }), ["e"].map(digest));
        let selected = select(&Selection::Rule(Rule { keep: 9, ..Rule::default() }), Images { all: all.to_vec() });
        let selected = selected.unwrap();
        assert_eq!((selected.images.len(), selected.kept, selected.undated), (0, 5, 1));
    }
}
