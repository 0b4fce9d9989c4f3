//! The one gate between a source component and the network: it asks only origins that were granted (SOURCE's own, and each
//! that a 3xx to one of its requests named), adds the user's credentials where they belong, and takes out what the
//! component must not see.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderValue;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, COOKIE, LOCATION, PROXY_AUTHORIZATION};
use url::Url;

use super::fields::without_secrets;
use super::{Answering, Client, Request, Response, SourceFields, redacted};
use crate::error::{Code, Error, Result, Retryable, Stage};
use crate::policy::{Grant, Origin, RequestDenied};

/// The network as it is granted to a source component.
#[derive(Clone)]
pub struct GrantedClient {
    client: Client,
    /// Whoever answers for the user, and the one origin that is answered.
    answering: Option<(Arc<dyn Answering>, Origin)>,
    /// The user's fields, and the one origin they are for.
    presented: Option<(SourceFields, Origin)>,
    origins: Arc<Mutex<Origins>>,
    /// What the policy grants this component of what would otherwise be allowed.
    grant: Arc<Grant>,
}

/// The origins of one source.
#[derive(Debug, Default)]
struct Origins {
    granted: Vec<Origin>,
    hops: usize,
}

impl GrantedClient {
    /// Grants one origin, that of SOURCE; none grants nothing.
    #[must_use]
    pub fn new(client: Client, granted: Option<Origin>) -> Self {
        let origins = Origins { granted: granted.into_iter().collect(), hops: 0 };
        Self { client, answering: None, presented: None, origins: Arc::new(Mutex::new(origins)), grant: Arc::default() }
    }

    /// The same that adds these fields to each request to SOURCE's own origin. Nothing is granted by that.
    #[must_use]
    pub fn presenting(self, fields: SourceFields, source: Option<Origin>) -> Self {
        let presented = source.filter(|_| !fields.is_empty()).map(|source| (fields, source));
        Self { presented, ..self }
    }

    /// The same with somebody who answers the challenges of SOURCE's own origin. Nothing is granted by that.
    #[must_use]
    pub fn answering(self, who: Arc<dyn Answering>, source: Option<Origin>) -> Self {
        Self { answering: source.map(|source| (who, source)), ..self }
    }

    /// The same that sends nothing but what the component's grant has.
    #[must_use]
    pub fn within(self, grant: Arc<Grant>) -> Self {
        Self { grant, ..self }
    }

    /// A new `open` or `read` begins: it has all its hops before it.
    pub fn begin(&self) {
        self.lock().hops = 0;
    }

    /// Whether a URL's origin was granted.
    #[must_use]
    pub fn has(&self, url: &Url) -> bool {
        Origin::of(url).is_ok_and(|origin| self.lock().granted.contains(&origin))
    }

    /// Sends a request to a granted origin, with the user's fields if that is SOURCE's own. The origin that a redirect names
    /// is granted too. The answer is without what a component must not see.
    ///
    /// # Errors
    /// `egress-denied` for any other origin and for credentials that are not the user's, `source-failed` for one redirect
    /// too many, `source-stalled` for an answer that does not come, and those of [`Client::send`].
    pub async fn send(&self, mut request: Request) -> Result<Response> {
        let url = request.url.clone();
        let denied = |message: String| Error::new(Code::EgressDenied, Stage::Source, message);
        let origin = Origin::of(&url)
            .map_err(|why| Error::new(Code::SourceInvalid, Stage::Source, format!("{}: {why}", redacted(&url))))?;
        if !self.lock().granted.contains(&origin) {
            return Err(denied(format!("the component asked for {origin}, which was not granted")));
        }
        if let Err(why) = self.grant.check_request(&origin, request.method.as_str()) {
            let what = match why {
                RequestDenied::Host(_) => origin.to_string(),
                RequestDenied::Method(_) => format!("{origin} with {}", request.method),
            };
            return Err(denied(format!("the component asked for {what}: {why}")));
        }
        if [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].iter().any(|name| request.headers.contains_key(name)) {
            return Err(denied(format!("the component sent credentials of its own to {origin}")));
        }
        // Content codings are for pages: a disk is wanted as it is.
        request.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(fields) = self.fields_for(&origin) {
            fields.set_on(&mut request.headers);
        }
        // Nobody else watches for a head: a component that waits for one is not idle.
        let limit = self.client.policy().limits.answer;
        request.answer_within = Some(request.answer_within.map_or(limit, |asked| asked.min(limit)));
        let mut response = self.answered(request, &origin).await?;
        let location = response.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        if let (300..=399, Some(location)) = (response.status, location) {
            let target = url.join(location).ok().and_then(|target| Origin::of(&target).ok());
            let policy = self.client.policy();
            let most = policy.egress.redirects;
            if !self.lock().redirected_to(target, most) {
                let message = format!("{} redirects once more than the {most} times allowed", redacted(&url));
                let rule = policy.redirects_rule();
                return Err(Error::new(Code::SourceFailed, Stage::Source, message)
                    .retryable_as(Retryable::No)
                    .hint(format!("{rule} bounds the redirects of one read")));
            }
        }
        response.headers = without_secrets(&response.headers);
        Ok(response)
    }

    /// Sends a request, and once more if its origin's own challenge can be answered. Requests have no body.
    async fn answered(&self, mut request: Request, origin: &Origin) -> Result<Response> {
        let own = |(who, source): &(Arc<dyn Answering>, Origin)| (source == origin).then(|| Arc::clone(who));
        let Some(who) = self.answering.as_ref().and_then(own) else { return self.client.send(request).await };
        let mut again = Request::new(request.method.clone(), request.url.clone());
        (again.headers, again.answer_within) = (request.headers.clone(), request.answer_within);
        who.authorize(&self.client, &mut request).await?;
        let response = self.client.send(request).await?;
        if response.status != 401 || !who.challenged(&self.client, &response.headers).await? {
            return Ok(response);
        }
        who.authorize(&self.client, &mut again).await?;
        self.client.send(again).await
    }

    /// What a user can do about a 401 or 403 from `url`.
    #[must_use]
    pub fn advice(&self, url: &Url) -> String {
        if let Some((who, source)) = &self.answering
            && Origin::of(url).is_ok_and(|origin| origin == *source)
        {
            return who.advice();
        }
        let presented = Origin::of(url).is_ok_and(|origin| self.fields_for(&origin).is_some());
        match &self.presented {
            Some((_, source)) if !presented => {
                format!("what was given as credentials or header fields for SOURCE goes to {source} only")
            }
            Some(_) => {
                "the server does not accept what was given as credentials or header fields for SOURCE".to_owned()
            }
            None => {
                "if the server wants a user and a password: --source-credentials FILE; another kind of token goes into \
                     --source-header-file FILE"
                    .to_owned()
            }
        }
    }

    /// The user's fields, if they are meant for `origin`: SOURCE's own, or its step from http:80 to https:443. Never the other
    /// way round.
    fn fields_for(&self, origin: &Origin) -> Option<&SourceFields> {
        let (fields, source) = self.presented.as_ref()?;
        (origin == source || origin.is_upgrade_of(source)).then_some(fields)
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
    use std::time::Duration;

    use http::{HeaderName, Method};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::{Basic, Net};
    use super::*;
    use crate::policy::{Policy, Side, Site, Sited};

    fn origin(url: &str) -> Origin {
        Origin::of(&Url::parse(url).unwrap()).unwrap()
    }

    /// A server that gives the same answer to the first request of each connection, which it leaves open, and keeps the
    /// heads of what it was asked. Without an answer it keeps silent.
    struct Server {
        url: Url,
        heads: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        async fn start(answer: Option<String>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = Url::parse(&format!("http://{}/disk", listener.local_addr().unwrap())).unwrap();
            let heads: Arc<Mutex<Vec<String>>> = Arc::default();
            let kept = Arc::clone(&heads);
            tokio::spawn(async move {
                let mut open = Vec::new();
                loop {
                    let (mut tcp, _) = listener.accept().await.unwrap();
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(tcp.read_u8().await.unwrap());
                    }
                    kept.lock().unwrap().push(String::from_utf8(head).unwrap().to_ascii_lowercase());
                    if let Some(answer) = &answer {
                        tcp.write_all(answer.as_bytes()).await.unwrap();
                    }
                    open.push(tcp);
                }
            });
            Self { url, heads }
        }

        fn heads(&self) -> Vec<String> {
            self.heads.lock().unwrap().clone()
        }
    }

    fn redirect(to: &Url) -> Option<String> {
        Some(format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n"))
    }

    fn ok() -> Option<String> {
        Some("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nwww-authenticate: Basic\r\nconnection: close\r\n\r\n".to_owned())
    }

    /// A client that may connect to these servers, as if the user had typed all of them, granted the first.
    fn granted(servers: &[&Server], policy: Policy) -> GrantedClient {
        let mut policy = policy;
        policy.egress.plain_http = vec![Sited::new("127.0.0.1".parse().unwrap(), Site::BuiltIn)];
        let typed: Vec<Origin> = servers.iter().map(|server| Origin::of(&server.url).unwrap()).collect();
        let source = typed.first().cloned();
        let fields = SourceFields::parse(b"X-Token: hunter2\nAccept: application/x-disk").unwrap();
        let fields = fields.authorized(&Basic::new("u", "p").unwrap());
        GrantedClient::new(Net::new(Arc::new(policy)).client(Side::Source, typed), source.clone())
            .presenting(fields, source)
    }

    fn get(url: &Url) -> Request {
        Request::new(Method::GET, url.clone())
    }

    #[tokio::test]
    async fn credentials_go_to_the_source_and_not_where_it_redirects() {
        let other = Server::start(ok()).await;
        let own = Server::start(redirect(&other.url)).await;
        let client = granted(&[&own, &other], Policy::default());
        assert!(client.send(get(&other.url)).await.is_err(), "nobody has named it yet");
        assert_eq!(other.heads(), Vec::<String>::new());

        let mut request = get(&own.url);
        request.headers.insert("accept", HeaderValue::from_static("the component's"));
        let answer = client.send(request).await.unwrap();
        assert_eq!(answer.status, 302);
        assert!(!answer.headers.contains_key("set-cookie"));
        let answer = client.send(get(&other.url)).await.unwrap();
        assert!(!answer.headers.contains_key("www-authenticate"));

        let (own, other) = (own.heads(), other.heads());
        for field in ["authorization: basic dtpw", "x-token: hunter2", "accept: application/x-disk"] {
            assert!(own[0].contains(&format!("\r\n{field}\r\n")), "{own:?}");
        }
        assert!(!own[0].contains("component"), "the user's field is in the place of the component's");
        assert_eq!((own.len(), other.len()), (1, 1));
        for secret in ["authorization", "dtpw", "hunter2", "x-disk"] {
            assert!(!other[0].contains(secret), "{other:?}");
        }
        assert!(own[0].contains("accept-encoding: identity") && other[0].contains("accept-encoding: identity"));
    }

    #[tokio::test]
    async fn a_component_has_no_credentials_of_its_own() {
        let server = Server::start(ok()).await;
        let client = granted(&[&server], Policy::default());
        for name in ["authorization", "cookie", "proxy-authorization"] {
            let mut request = get(&server.url);
            request.headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
            let Err(error) = client.send(request).await else { panic!("{name}") };
            assert_eq!(error.code(), Code::EgressDenied);
        }
        assert_eq!(server.heads(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_and_a_body_that_stops_are_stalls() {
        let mut policy = Policy::default();
        (policy.limits.answer, policy.limits.source_stall) = (Duration::from_secs(1), Duration::from_secs(1));
        let silent = Server::start(None).await;
        let Err(error) = granted(&[&silent], policy.clone()).send(get(&silent.url)).await else { panic!("an answer") };
        assert_eq!(error.code(), Code::SourceStalled);
        assert!(error.to_string().contains("no answer within 1 s"), "{error}");

        // The rest of its body never comes, and the connection stays open.
        let stopping = Server::start(Some("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_owned())).await;
        policy.limits.answer = Duration::from_secs(60);
        let answer = granted(&[&stopping], policy).send(get(&stopping.url)).await.unwrap();
        let Err(error) = answer.body.collect(100).await else { panic!("a whole body") };
        assert_eq!(error.code(), Code::SourceStalled);
        assert!(error.to_string().contains("sent nothing for 1 s after 3 bytes"), "{error}");
    }

    /// A client of a source that is never connected to, with fields or without.
    fn idle(source: &str, fields: &[u8]) -> GrantedClient {
        let client = Net::new(Arc::default()).client(Side::Source, Vec::new());
        let source = Some(origin(source));
        GrantedClient::new(client, source.clone()).presenting(SourceFields::parse(fields).unwrap(), source)
    }

    #[test]
    fn the_users_fields_follow_an_upgrade_and_nothing_else() {
        let presented = |client: &GrantedClient, to: &str| client.fields_for(&origin(to)).is_some();
        let plain = idle("http://a.example/", b"X: y");
        assert!(presented(&plain, "http://a.example/"));
        assert!(presented(&plain, "https://a.example/"));
        for other in ["https://a.example:8443/", "http://a.example:8080/", "https://b.example/", "https://a.example.b/"]
        {
            assert!(!presented(&plain, other), "{other}");
        }
        let tls = idle("https://a.example/", b"X: y");
        assert!(presented(&tls, "https://a.example:443/"));
        assert!(!presented(&tls, "http://a.example/"), "never down to plain text");
        assert!(!presented(&tls, "http://a.example:443/"));
    }

    #[test]
    fn the_advice_fits_what_was_given() {
        let url = |text: &str| Url::parse(text).unwrap();
        let without = idle("https://a.example/", b"");
        assert!(without.advice(&url("https://a.example/x")).contains("--source-credentials FILE"));
        let with = idle("https://a.example/", b"Cookie: hunter2");
        assert!(with.advice(&url("https://a.example/x")).contains("does not accept"));
        assert!(with.advice(&url("https://b.example/x")).contains("goes to https://a.example only"));
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
