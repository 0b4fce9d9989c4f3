//! What a registry has: its repositories, and the tags of one (distribution-spec, "Content Discovery"). Both come in pages, each of
//! which names the next one in a Link (RFC 8288).

use std::collections::BTreeSet;

use http::header::LINK;
use http::{HeaderMap, Method};
use url::Url;

use super::answer::failure_or_unknown;
use super::conversation::{Conversation, what};
use super::credentials::Credentials;
use super::session::follow;
use super::wire;
use crate::error::{Code, Error, Result, Retryable, Stage};
use crate::net::{Client, Response};
use crate::oci::{Reference, Repository, Tag};

/// How many names are asked for at once. Who gives fewer names the next page.
const PAGE: usize = 1000;
/// The most pages: a registry that gives one name on each is not read for ever.
const MAX_PAGES: usize = 1000;
/// The most names that are kept.
const MAX_NAMES: usize = 100_000;
/// The most bytes of a page.
const MAX_PAGE_BYTES: usize = 4 << 20;
/// Everything here happens in one conversation with the registry.
const STAGE: Stage = Stage::Upload;

/// The repositories of the registry at `registry`, in order; `host` is how it is called.
///
/// # Errors
/// `registry-not-found` if the registry does not tell them, `registry-protocol` for pages without end and for what is no
/// name, else the registry's.
pub async fn repositories(
    client: Client,
    registry: &Url,
    host: &Repository,
    credentials: Option<Credentials>,
) -> Result<Vec<String>> {
    let mut conversation = Conversation::with_catalog(client, registry, host.clone(), credentials)?;
    conversation.ping(STAGE).await?;
    let first =
        registry.join(&format!("/v2/_catalog?n={PAGE}")).map_err(|why| Error::internal(STAGE, why.to_string()))?;
    let hint = "many registries do not tell their repositories: name one, docker://host/repository, to list its images";
    let names = pages(&mut conversation, first, hint, &mut false, wire::repositories).await?;
    let host = host.registry();
    names
        .into_iter()
        .map(|name| match format!("{host}/{name}:x").parse::<Reference>() {
            Ok(_) => Ok(name),
            Err(_) => Err(protocol(format!("{host} lists a repository with a name that is none"))),
        })
        .collect()
}

/// The tags of a repository, in order.
///
/// # Errors
/// `registry-not-found` if there is no such repository, `registry-protocol` for pages without end and for what is no tag,
/// else the registry's.
pub(super) async fn tags(conversation: &mut Conversation) -> Result<Vec<Tag>> {
    listed(conversation, &mut false).await
}

/// The same; none if the registry says in so many words that it knows no such repository.
///
/// # Errors
/// As for [`tags`], but for that.
pub(super) async fn tags_if_known(conversation: &mut Conversation) -> Result<Option<Vec<Tag>>> {
    let mut unknown = false;
    match listed(conversation, &mut unknown).await {
        Err(_) if unknown => Ok(None),
        listed => listed.map(Some),
    }
}

async fn listed(conversation: &mut Conversation, unknown: &mut bool) -> Result<Vec<Tag>> {
    let first = conversation.url(&format!("tags/list?n={PAGE}"))?;
    let hint = "to list the repositories of a registry: longshore list docker://host";
    let names = pages(conversation, first, hint, unknown, wire::tags).await?;
    let parsed = |name: String| {
        name.parse().map_err(|_| protocol(format!("{} lists a tag that is none", conversation.repository())))
    };
    names.into_iter().map(parsed).collect()
}

async fn pages(
    conversation: &mut Conversation,
    first: Url,
    hint: &str,
    unknown: &mut bool,
    names: impl Fn(&[u8]) -> Option<Vec<String>>,
) -> Result<Vec<String>> {
    let (mut at, mut all, mut asked) = (first, BTreeSet::new(), BTreeSet::new());
    for _ in 0..MAX_PAGES {
        let asks = what(&Method::GET, &at);
        let response = conversation.get(STAGE, &at, &HeaderMap::new()).await?;
        if response.status != 200 {
            let status = response.status;
            let (error, is_unknown) = failure_or_unknown(STAGE, &asks, response).await;
            // A page after the first one is of what is known.
            *unknown = status == 404 && is_unknown && asked.is_empty();
            return Err(match status {
                404 | 405 => {
                    Error::new(Code::RegistryNotFound, STAGE, error.to_string()).retryable_as(Retryable::No).hint(hint)
                }
                _ => error,
            });
        }
        let next = next(&at, &response)?;
        let page = response.body.collect(MAX_PAGE_BYTES).await?;
        all.extend(names(&page).ok_or_else(|| protocol(format!("{asks}: the answer is no list of names")))?);
        if all.len() > MAX_NAMES {
            return Err(protocol(format!("{asks}: more than {MAX_NAMES} names")));
        }
        let Some(next) = next else { return Ok(all.into_iter().collect()) };
        asked.insert(std::mem::replace(&mut at, next));
        if asked.contains(&at) {
            return Err(protocol(format!("{asks}: the registry names a page as the next one that was there before")));
        }
    }
    Err(protocol(format!("{}: more than {MAX_PAGES} pages", what(&Method::GET, &at))))
}

/// The next page. It is the registry's own: what another host lists is not what this one has.
fn next(asked: &Url, response: &Response) -> Result<Option<Url>> {
    let unreadable = || protocol(format!("{}: the registry's Link cannot be read", what(&Method::GET, asked)));
    let mut target = None;
    for link in response.headers.get_all(LINK) {
        let link = link.to_str().map_err(|_| unreadable())?;
        if target.is_none() {
            target = link.split(", ").find_map(next_of);
        }
    }
    let Some(target) = target else { return Ok(None) };
    let next = follow(asked, target).ok().filter(|next| next.origin() == asked.origin());
    next.map(Some)
        .ok_or_else(|| protocol(format!("{}: the registry's Link leads elsewhere", what(&Method::GET, asked))))
}

/// The target of the link that is `rel="next"`.
fn next_of(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.split(';').any(|parameter| {
        let parameter = parameter.trim().replace([' ', '"'], "");
        parameter.eq_ignore_ascii_case("rel=next")
    });
    is_next.then_some(target)
}

fn protocol(message: String) -> Error {
    Error::new(Code::RegistryProtocol, STAGE, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_link_that_says_so() {
        assert_eq!(next_of("</v2/_catalog?n=5&last=x>; rel=\"next\""), Some("/v2/_catalog?n=5&last=x"));
        assert_eq!(next_of("</a>;rel=next"), Some("/a"));
        for none in ["", "</a>", "</a>; rel=\"prev\"", "/a; rel=\"next\"", "<a; rel=next"] {
            assert_eq!(next_of(none), None, "{none}");
        }
    }
}
