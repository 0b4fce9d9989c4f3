//! Requests to one repository: authorised, sent again where that is harmless, redirects of blobs followed.

use std::time::SystemTime;

use http::header::LOCATION;
use http::{HeaderMap, Method};
use url::Url;

use super::answer::failure;
use super::authorizer::Authorizer;
use super::credentials::Credentials;
use super::retry::{BackOff, Tries, is_temporary, retry_after};
use super::session::{Refused, follow};
use crate::error::{Code, Error, Result, Retryable, Stage};
use crate::net::{Client, Request, Response, redacted};
use crate::oci::{Digest, Repository};

/// When a request may be sent again. One whose body is a stream never comes here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Replay {
    /// Whatever became of it: the same request twice is as good as once.
    Always,
    /// If the registry answered that it could not: at worst something is left open that nobody uses.
    Answered,
    /// If the registry answered that it did not even try: what a second one does to a first is anybody's guess.
    Refused,
    /// Never: whoever asks counts the attempts himself.
    Never,
}

/// One repository of one registry.
pub(super) struct Conversation {
    client: Client,
    repository: Repository,
    base: Url,
    authorizer: Authorizer,
    back_off: BackOff,
    /// Whether the registry ever answered: only then is a connection that breaks worth another one.
    heard: bool,
}

impl Conversation {
    /// With a repository of the registry at `registry`. Nothing is sent yet. `actions` are what will be done there.
    ///
    /// # Errors
    /// `internal` if no URL can be made of the parts.
    pub(super) fn new(
        client: Client,
        registry: &Url,
        repository: Repository,
        actions: &[&'static str],
        credentials: Option<Credentials>,
    ) -> Result<Self> {
        let base = registry
            .join(&format!("/v2/{}/", repository.path()))
            .map_err(|why| Error::internal(Stage::Upload, why.to_string()))?;
        let authorizer = Authorizer::new(registry, repository.path(), actions, credentials);
        let back_off = BackOff::of(&client);
        Ok(Self { client, repository, base, authorizer, back_off, heard: false })
    }

    /// The same about the list of repositories; `host` is any repository of the registry.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub(super) fn with_catalog(
        client: Client,
        registry: &Url,
        host: Repository,
        credentials: Option<Credentials>,
    ) -> Result<Self> {
        let authorizer = Authorizer::of_catalog(registry, credentials);
        Ok(Self { authorizer, ..Self::new(client, registry, host, &[], None)? })
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Whether tokens from now on are for another repository of the registry as well, to read from.
    pub(super) fn also_pull(&mut self, repository: Option<&str>) {
        self.authorizer.also_pull(repository);
    }

    /// How often something is tried, and the pauses in between.
    pub(super) const fn back_off(&self) -> BackOff {
        self.back_off
    }

    /// Something new that is tried so often.
    pub(super) const fn tries(&self) -> Tries {
        Tries::new(self.back_off)
    }

    /// `…/v2/<name>/`.
    pub(super) const fn base(&self) -> &Url {
        &self.base
    }

    /// A URL of the repository's.
    pub(super) fn url(&self, path: &str) -> Result<Url> {
        // `./` keeps the colon of a digest from being read as a scheme.
        self.base.join(&format!("./{path}")).map_err(|why| Error::internal(Stage::Publish, why.to_string()))
    }

    /// Asks whether this is a registry that lets us in.
    ///
    /// # Errors
    /// Whatever keeps it from saying yes.
    pub(super) async fn ping(&mut self, stage: Stage) -> Result<()> {
        let ping = self.base.join("/v2/").map_err(|why| Error::internal(stage, why.to_string()))?;
        let response = self.call(stage, Replay::Always, || Request::new(Method::GET, ping.clone())).await?;
        match response.status {
            200 => Ok(()),
            404 => Err(failure(stage, &what(&Method::GET, &ping), response)
                .await
                .hint("there is no registry at this address, or one without the API of version 2")),
            _ => Err(failure(stage, &what(&Method::GET, &ping), response).await),
        }
    }

    /// Sends a request as often as `replay` and the answers allow, and with other credentials if the registry asks for them.
    ///
    /// # Errors
    /// The network's and the token server's. Every answer is an answer.
    pub(super) async fn call(&mut self, stage: Stage, replay: Replay, make: impl Fn() -> Request) -> Result<Response> {
        let (mut tries, mut challenged) = (self.tries(), false);
        loop {
            let mut request = make();
            let answer = self.client.policy().limits.answer;
            request.answer_within = request.answer_within.or_else(|| Some(tries.left()?.min(answer)));
            let (own, shown) = (self.authorizer.is_own(&request.url), what(&request.method, &request.url));
            let (waits, why) = match self.once(stage, request).await {
                Ok(response) if response.status == 401 && own && !challenged => {
                    challenged = true;
                    if self.authorizer.challenged(&self.client, stage, &response.headers).await? {
                        continue;
                    }
                    return Ok(response);
                }
                Ok(response) => {
                    let again = match replay {
                        Replay::Always | Replay::Answered => is_temporary(response.status),
                        Replay::Refused => matches!(response.status, 408 | 429),
                        Replay::Never => false,
                    };
                    let waits = tries.failed(retry_after(&response.headers, SystemTime::now())).filter(|_| again);
                    let Some(waits) = waits else { return Ok(response) };
                    (waits, format!("answered {}", response.status))
                }
                Err(error) => {
                    let broke = self.heard && replay == Replay::Always && is_broken(&error);
                    let Some(waits) = tries.failed(None).filter(|_| broke) else { return Err(error) };
                    (waits, error.to_string())
                }
            };
            tracing::info!(request = shown, why, "sent again in {:.1} s", waits.as_secs_f64());
            tokio::time::sleep(waits).await;
        }
    }

    /// Sends a request once, authorised if it is for the registry itself.
    ///
    /// # Errors
    /// The network's and the token server's.
    async fn once(&mut self, stage: Stage, mut request: Request) -> Result<Response> {
        request.answer_within.get_or_insert_with(|| self.client.policy().limits.answer);
        self.authorizer.authorize(&self.client, stage, &mut request).await?;
        let response = self.client.send(request).await?;
        self.heard = true;
        Ok(response)
    }

    /// Puts the Authorization field into a request that is sent elsewhere: the one whose body is a stream.
    ///
    /// # Errors
    /// The token server's.
    pub(super) async fn authorize(&mut self, stage: Stage, request: &mut Request) -> Result<()> {
        self.authorizer.authorize(&self.client, stage, request).await
    }

    /// Whether there are other credentials for a request to `url`, sent elsewhere, that was answered with this 401. Nobody but
    /// the registry itself may name a token server: an upload may have moved to another host.
    ///
    /// # Errors
    /// The token server's.
    pub(super) async fn renewed(&mut self, stage: Stage, url: &Url, response: &Response) -> Result<bool> {
        if !self.authorizer.is_own(url) {
            return Ok(false);
        }
        self.authorizer.challenged(&self.client, stage, &response.headers).await
    }

    /// Gets something, wherever the registry's redirects lead within the policy; other hosts get no credentials.
    ///
    /// # Errors
    /// Those of [`Self::call`], `registry-protocol` if a redirect leads nowhere or there are too many.
    pub(super) async fn get(&mut self, stage: Stage, url: &Url, headers: &HeaderMap) -> Result<Response> {
        let mut at = url.clone();
        let most = self.client.policy().egress.redirects;
        for _ in 0..=most {
            let get = || {
                let mut request = Request::new(Method::GET, at.clone());
                request.headers = headers.clone();
                request
            };
            let response = self.call(stage, Replay::Always, get).await?;
            if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let astray = |why: &str| {
                let message = format!("{}: the registry's redirect is not usable: {why}", what(&Method::GET, &at));
                Error::new(Code::RegistryProtocol, stage, message)
            };
            let location = response.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let next = follow(&at, location.ok_or_else(|| astray("it names no location"))?);
            at = next.map_err(|refused| match refused {
                Refused::Location(why) => astray(&why),
                Refused::Status | Refused::Order => astray("it leads nowhere"),
            })?;
        }
        let rule = self.client.policy().redirects_rule();
        let message = format!(
            "{}: redirected more than the {most} times allowed, by the policy's {rule}",
            what(&Method::GET, url)
        );
        Err(Error::new(Code::RegistryProtocol, stage, message))
    }
}

/// Whether the connection is what failed, not somebody at one of its ends. Of a registry that was spoken to before also a TLS
/// session that fails: bytes were changed on the way, the policy is the same.
pub(super) fn is_broken(error: &Error) -> bool {
    match error.code() {
        // A proxy that says no says it again.
        Code::RegistryUnreachable => error.retryable() == Retryable::Yes,
        code => matches!(code, Code::RegistryStalled | Code::TlsHandshake),
    }
}

/// The request as messages name it.
pub(super) fn what(method: &Method, url: &Url) -> String {
    format!("{method} {}", redacted(url))
}

/// The digest that an answer says its content has, if it is one that we know.
pub(super) fn told_digest(response: &Response) -> Option<Digest> {
    response.headers.get("docker-content-digest")?.to_str().ok()?.parse().ok()
}
