//! Glue to the `source-component` world.

#![allow(unsafe_code, reason = "the generated export glue of a component")]

use std::cell::RefCell;

use crate::{
    FIRST_PART, Head, MAX_HOPS, Refusal, Revision, Verdict, check_range, check_revision, judge, name, opens_part,
    redirect_target, total,
};

mod bindings {
    #![allow(missing_docs, unused_qualifications, clippy::all, reason = "generated")]
    wit_bindgen::generate!({ world: "source-component", path: "../../wit" });
}

use bindings::exports::longshore::stage::describe::{Declaration, Description, Guest as Describe, SourceDeclaration};
use bindings::exports::longshore::stage::source::{Access, Disk, Facts, Failure, Guest as Source, GuestDisk};
use bindings::longshore::stage::{fetch, log};
use wit_bindgen::rt::async_support::{FutureReader, StreamReader};

type Body = (StreamReader<u8>, FutureReader<Result<(), Failure>>);

struct Component;

impl Describe for Component {
    fn describe() -> Description {
        std::panic::set_hook(Box::new(|panic| log::log(log::Level::Error, &panic.to_string())));
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            declares: Declaration::Source(SourceDeclaration { schemes: vec!["http".to_owned(), "https".to_owned()] }),
        }
    }
}

/// A disk behind a URL that answered 200.
struct HttpDisk {
    /// The URL that was opened, and the one at the end of its redirects.
    location: String,
    url: String,
    facts: Facts,
    revision: Option<Revision>,
    /// The body of the opening GET, until a read takes it, and how many bytes from the start it has, if it is not the whole.
    opening: RefCell<Option<(Body, Option<u64>)>>,
}

impl Source for Component {
    type Disk = HttpDisk;

    async fn open(location: String, options: Vec<(String, String)>) -> Result<Disk, Failure> {
        let part = match opens_part(&options).map_err(Failure::Unsupported)? {
            true => first_part(&location).await?,
            false => None,
        };
        let (url, head, body) = match part {
            Some(opened) => opened,
            None => follow(location.clone(), None, None).await?,
        };
        let is_part = head.status == 206;
        let size = if is_part { total(&head) } else { head.length };
        let revision = head.revision();
        let facts = Facts {
            name: name(&location),
            size,
            revision: revision.as_ref().map(|revision| revision.as_str().to_owned()),
            modified: head.field("last-modified").map(str::to_owned),
            access: if (is_part || head.has_ranges()) && size.is_some() && revision.is_some() {
                Access::Ranged
            } else {
                Access::Restart
            },
            enclosure: None,
        };
        let opening = (body, is_part.then(|| FIRST_PART.min(size.unwrap_or_default())));
        Ok(Disk::new(HttpDisk { location, url, facts, revision, opening: RefCell::new(Some(opening)) }))
    }
}

impl GuestDisk for HttpDisk {
    fn facts(&self) -> Facts {
        self.facts.clone()
    }

    async fn read(&self, offset: u64, length: Option<u64>) -> Result<Body, Failure> {
        let whole = offset == 0 && length.is_none_or(|length| Some(length) == self.facts.size);
        // What was asked for to open the disk, if that is what is wanted now.
        let fits = |part: Option<u64>| part.map_or(whole, |part| offset == 0 && self.ends(length) == Some(part));
        let is_it = self.opening.borrow().as_ref().is_some_and(|(_, part)| fits(*part));
        if is_it && let Some((body, _)) = self.opening.take() {
            return Ok(body);
        }
        if whole {
            drop(self.opening.take());
            let (_, head, body) = self.ask(None).await?;
            if head.revision() != self.revision || head.length != self.facts.size {
                return Err(Failure::Changed("the disk changed since it was opened".to_owned()));
            }
            return Ok(body);
        }
        let (Access::Ranged, Some(size)) = (self.facts.access, self.facts.size) else {
            return Err(Failure::Gone("this server does not offer ranges of a disk it can identify".to_owned()));
        };
        if offset >= size || length == Some(0) {
            return Err(Failure::Invalid(format!("a read at {offset} of a disk of {size} bytes")));
        }
        // Whoever begins with another part may never want this one: its connection is not kept waiting.
        drop(self.opening.take());
        let (_, head, body) = self.ask(Some(fetch::ByteRange { offset, length })).await?;
        check_range(&head, offset, length, size).map_err(failure)?;
        check_revision(&head, self.revision.as_ref()).map_err(failure)?;
        Ok(body)
    }
}

impl HttpDisk {
    /// Where a read of so many bytes from the start ends.
    fn ends(&self, length: Option<u64>) -> Option<u64> {
        let size = self.facts.size?;
        Some(length.map_or(size, |length| length.min(size)))
    }

    /// Asks where the redirects led, and once more from their start if that place is not one any longer: signed URLs expire.
    async fn ask(&self, range: Option<fetch::ByteRange>) -> Result<(String, Head, Body), Failure> {
        match follow(self.url.clone(), range, self.condition()).await {
            Err(Failure::Denied(_) | Failure::NotFound(_)) if self.url != self.location => {
                follow(self.location.clone(), range, self.condition()).await
            }
            asked => asked,
        }
    }

    fn condition(&self) -> Option<fetch::Condition> {
        self.revision.clone().map(|revision| match revision {
            Revision::Etag(tag) => fetch::Condition::UnchangedEtag(tag),
            Revision::Modified(date) => fetch::Condition::UnchangedSince(date),
        })
    }
}

/// GETs the first bytes of a disk: what answers that, the whole where the server has no ranges, and nothing if there are no
/// first bytes or the server does not say of how many, so that the whole must be asked for.
async fn first_part(location: &str) -> Result<Option<(String, Head, Body)>, Failure> {
    let range = fetch::ByteRange { offset: 0, length: Some(FIRST_PART) };
    let (url, head, body) = match follow(location.to_owned(), Some(range), None).await {
        // 416: a disk of no bytes has no first ones.
        Err(Failure::Changed(_)) => return Ok(None),
        asked => asked?,
    };
    if head.status == 206 {
        let Some(size) = total(&head) else { return Ok(None) };
        check_range(&head, 0, Some(FIRST_PART), size).map_err(failure)?;
    }
    Ok(Some((url, head, body)))
}

/// GETs `url` and what it redirects to, one hop at a time, until there is a body or a reason why not.
async fn follow(
    mut url: String,
    range: Option<fetch::ByteRange>,
    condition: Option<fetch::Condition>,
) -> Result<(String, Head, Body), Failure> {
    for _ in 0..=MAX_HOPS {
        let request = fetch::Request {
            method: fetch::Method::Get,
            url: url.clone(),
            range,
            condition: condition.clone(),
            headers: Vec::new(),
        };
        let (head, stream, outcome) = fetch::send(&request);
        let head = head.await?;
        let head = Head { status: head.status, headers: head.headers, length: head.length };
        // Without a condition nothing is known of the disk yet, and the whole is as good a beginning.
        let partial = range.is_some() && (head.status != 200 || condition.is_some());
        match judge(&head, partial) {
            Verdict::Body => return Ok((url, head, (stream, outcome))),
            Verdict::Redirect(location) => url = redirect_target(&url, &location).map_err(Failure::Invalid)?,
            Verdict::Refused(refusal) => return Err(failure(refusal)),
        }
    }
    Err(Failure::Limit(format!("more than {MAX_HOPS} redirects")))
}

fn failure(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::NotFound(words) => Failure::NotFound(words),
        Refusal::Denied(words) => Failure::Denied(words),
        Refusal::Changed(words) => Failure::Changed(words),
        Refusal::Invalid(words) => Failure::Invalid(words),
        Refusal::Unsupported(words) => Failure::Unsupported(words),
        Refusal::Io(words) => Failure::Io(words),
    }
}

bindings::export!(Component with_types_in bindings);
