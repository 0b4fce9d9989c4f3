//! A client that asks only origins that were granted: SOURCE's own, and each that a 3xx to one of its requests named.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::LOCATION;

use super::{Client, Request, Response, redacted};
use crate::error::{Code, Error, Result, Stage};
use crate::policy::Origin;

/// The network as it is granted to a source component.
#[derive(Clone)]
pub struct GrantedClient {
    client: Client,
    origins: Arc<Mutex<Origins>>,
}

/// The origins of one source.
#[derive(Debug, Default)]
struct Origins {
    granted: Vec<Origin>,
    hops: usize,
}

impl GrantedClient {
    /// Grants the origin of SOURCE; none grants nothing.
    #[must_use]
    pub fn new(client: Client, source: Option<Origin>) -> Self {
        let origins = Origins { granted: source.into_iter().collect(), hops: 0 };
        Self { client, origins: Arc::new(Mutex::new(origins)) }
    }

    /// A new `open` or `read` begins: it has all its hops before it.
    pub fn begin(&self) {
        self.lock().hops = 0;
    }

    /// Sends a request to a granted origin. The origin that a redirect names is granted too.
    ///
    /// # Errors
    /// `egress-denied` for any other origin, `source-failed` for one redirect too many, and those of [`Client::send`].
    pub async fn send(&self, mut request: Request) -> Result<Response> {
        let url = request.url.clone();
        let origin = Origin::of(&url)
            .map_err(|why| Error::new(Code::SourceInvalid, Stage::Source, format!("{}: {why}", redacted(&url))))?;
        if !self.lock().granted.contains(&origin) {
            let message = format!("the component asked for {origin}, which was not granted");
            return Err(Error::new(Code::EgressDenied, Stage::Source, message));
        }
        // Nobody else watches for a head: a component that waits for one is not idle.
        let limit = self.client.policy().limits.answer;
        request.answer_within = Some(request.answer_within.map_or(limit, |asked| asked.min(limit)));
        let response = self.client.send(request).await?;
        let location = response.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        if let (300..=399, Some(location)) = (response.status, location) {
            let target = url.join(location).ok().and_then(|target| Origin::of(&target).ok());
            let policy = self.client.policy();
            let most = policy.egress.redirects;
            if !self.lock().redirected_to(target, most) {
                let message = format!("{} redirects once more than the {most} times allowed", redacted(&url));
                let site = policy.sites.of("egress.redirects");
                return Err(Error::new(Code::SourceFailed, Stage::Source, message)
                    .hint(format!("`egress.redirects` ({site}) bounds the redirects of one read")));
            }
        }
        Ok(response)
    }

    fn lock(&self) -> MutexGuard<'_, Origins> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origins {
    /// Whether one more redirect is allowed; if it is, where it leads is granted.
    fn redirected_to(&mut self, target: Option<Origin>, most: usize) -> bool {
        self.hops = self.hops.saturating_add(1);
        let allowed = self.hops <= most;
        if let Some(target) = target.filter(|target| allowed && !self.granted.contains(target)) {
            self.granted.push(target);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::of(&url::Url::parse(url).unwrap()).unwrap()
    }

    #[test]
    fn a_redirect_grants_where_it_leads_and_nothing_else() {
        let mut origins = Origins { granted: vec![origin("https://a.example/")], hops: 0 };
        assert!(origins.redirected_to(Some(origin("https://b.example/")), 2));
        assert!(origins.redirected_to(None, 2), "a malformed location is the component's to complain about");
        assert_eq!(origins.granted, [origin("https://a.example/"), origin("https://b.example/")]);
    }

    #[test]
    fn the_hops_of_one_read_are_bounded() {
        let mut origins = Origins::default();
        assert!((0..3).all(|_| origins.redirected_to(Some(origin("https://b.example/")), 3)));
        assert!(!origins.redirected_to(Some(origin("https://c.example/")), 3));
        assert_eq!(origins.granted, [origin("https://b.example/")]);
    }
}
