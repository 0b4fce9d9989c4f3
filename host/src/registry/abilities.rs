//! What a registry says of itself, and whether it would take a push. Nothing is left there.

use bytes::Bytes;
use http::{HeaderMap, Method};
use url::Url;

use super::answer::{answer_of, failure, out_of_order, refused};
use super::challenge::challenges;
use super::conversation::{Conversation, Replay, what};
use super::credentials::Credentials;
use super::session::UploadSession;
use crate::error::{Error, Result, Stage};
use crate::net::{Client, Request};
use crate::oci::Repository;

/// What was found.
#[derive(Debug)]
pub struct Abilities {
    /// The status of `GET /v2/` without credentials: 200, or 401 where it wants some.
    pub status: u16,
    /// Its `Docker-Distribution-API-Version`, if it says one.
    pub api_version: Option<String>,
    /// The schemes of its challenges, in lower case.
    pub challenges: Vec<String>,
    /// Whether it opens an upload session; none if it was not asked: it wants credentials, and there are none.
    pub session: Option<Result<PushSession>>,
}

/// An upload session that was opened, and given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushSession {
    /// The least bytes of a chunk, if it says so.
    pub chunk_min_bytes: Option<u64>,
    /// The status of the answer that kept it from being given up; none if it is gone.
    pub left: Option<u16>,
}

/// Asks the registry at `registry`.
///
/// # Errors
/// Whatever keeps it from answering at all, and its answer where it is no registry's.
pub async fn abilities(
    client: Client,
    registry: &Url,
    repository: Repository,
    credentials: Option<Credentials>,
) -> Result<Abilities> {
    let stage = Stage::Upload;
    let ping = registry.join("/v2/").map_err(|why| Error::internal(stage, why.to_string()))?;
    let mut request = Request::new(Method::GET, ping.clone());
    request.answer_within = Some(client.policy().limits.answer);
    let response = client.send(request).await?;
    let (status, headers) = (response.status, response.headers.clone());
    if !matches!(status, 200 | 401) {
        let error = failure(stage, &what(&Method::GET, &ping), response).await;
        return Err(match status {
            404 => error.hint("there is no registry at this address, or one without the API of version 2"),
            _ => error,
        });
    }
    let session = match (status, &credentials) {
        (401, None) => None,
        _ => Some(session(client, registry, repository, credentials).await),
    };
    let schemes = headers.get_all(http::header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    Ok(Abilities {
        status,
        api_version: text(&headers, "docker-distribution-api-version"),
        challenges: schemes.flat_map(challenges).map(|challenge| challenge.scheme()).collect(),
        session,
    })
}

async fn session(
    client: Client,
    registry: &Url,
    repository: Repository,
    credentials: Option<Credentials>,
) -> Result<PushSession> {
    let stage = Stage::Upload;
    let mut conversation = Conversation::new(client, registry, repository, &["pull", "push"], credentials)?;
    conversation.ping(stage).await?;
    let disordered = || out_of_order(stage, "POST");
    let mut session = UploadSession::new(conversation.base()).map_err(|_| disordered())?;
    let (method, url) = session.open_request();
    let open = || Request::new(method.clone(), url.clone()).with_bytes(Bytes::new());
    let response = conversation.call(stage, Replay::Answered, open).await?;
    if let Err(why) = session.opened(answer_of(&response)) {
        return Err(refused(why, stage, &what(&method, &url), response).await);
    }
    let chunk_min_bytes = text(&response.headers, "oci-chunk-min-length").and_then(|least| least.parse().ok());
    let Some((method, url)) = session.cancel_request() else { return Err(disordered()) };
    let cancelled = conversation.call(stage, Replay::Refused, || Request::new(method.clone(), url.clone())).await?;
    let left = (!matches!(cancelled.status, 200 | 202 | 204)).then_some(cancelled.status);
    Ok(PushSession { chunk_min_bytes, left })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
