//! What a Kubernetes cluster says of the images that a registry keeps for it (deckhouse/virtualization, `v1alpha2`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use serde_json::{Map, Value, json};
use url::Url;

use crate::error::{Code, Error, Result, Retryable, Stage};
use crate::net::{Client, Net, Request, Secret, redacted};
use crate::policy::{Origin, Policy, Side};

/// The kind that is in no namespace.
const CLUSTER_IMAGES: &str = "clustervirtualimages";
/// How many resources are asked for at once.
const PAGE: usize = 500;
/// The most pages.
const MAX_PAGES: usize = 1000;
/// The most bytes of an answer.
const MAX_ANSWER: usize = 32 << 20;
/// The resources.
const API: &str = "apis/virtualization.deckhouse.io/v1alpha2";
/// The phase of a disk that needs its image no longer.
const READY: &str = "Ready";
/// Where the result of a cleaning is waited for.
const NAMESPACE: &str = "d8-virtualization";
/// What says that it is there, and what had asked for it.
const DONE: &str = "virtualization.deckhouse.io/dvcr-garbage-collection-done";
const ASKED: &str = "virtualization.deckhouse.io/dvcr-deployment-switch-to-maintenance-mode";

/// A cluster, and who we are there.
pub struct Cluster {
    client: Client,
    api: Url,
    authorization: HeaderValue,
}

/// The resources that have images.
#[derive(Debug, Default)]
pub struct ClusterImages {
    /// ClusterVirtualImages.
    pub cluster: BTreeSet<String>,
    /// VirtualImages, by namespace and name.
    pub images: BTreeSet<(String, String)>,
    /// VirtualDisks that are not ready yet, by namespace and name.
    pub unfinished_disks: BTreeSet<(String, String)>,
}

impl Cluster {
    /// The cluster whose API is at `api`, as who has that token. Nothing is sent yet.
    ///
    /// # Errors
    /// `usage` for a URL that is no API's, `credentials-unreadable` for a token that is none.
    pub fn new(api: Url, token: &str, policy: Policy) -> Result<Self> {
        let origin = Origin::of(&api).map_err(|why| {
            Error::new(Code::Usage, Stage::Plan, format!("{} is no API of a cluster: {why}", redacted(&api)))
        })?;
        let token = Secret::new(format!("Bearer {}", token.trim()));
        let authorization = HeaderValue::try_from(token.expose());
        let mut authorization = authorization.map_err(|_| {
            Error::new(
                Code::CredentialsUnreadable,
                Stage::Plan,
                "the service account's token has characters that none has",
            )
        })?;
        authorization.set_sensitive(true);
        let net = Net::new(Arc::new(policy));
        Ok(Self { client: net.client(Side::Registry, vec![origin]), api, authorization })
    }

    /// All of them. What is not listed to its end is not known.
    ///
    /// # Errors
    /// Whatever keeps the API from listing them.
    pub async fn images(&self) -> Result<ClusterImages> {
        let mut found = ClusterImages::default();
        let all = |_: &Value| true;
        self.list(CLUSTER_IMAGES, all, |(_, name)| found.cluster.insert(name)).await?;
        self.list("virtualimages", all, |named| found.images.insert(named)).await?;
        let unfinished = |disk: &Value| disk.pointer("/status/phase").and_then(Value::as_str) != Some(READY);
        self.list("virtualdisks", unfinished, |named| found.unfinished_disks.insert(named)).await?;
        Ok(found)
    }

    /// Leaves the result of a cleaning in the secret of that name, for whoever waits for it.
    ///
    /// # Errors
    /// Whatever keeps the API from changing it.
    pub async fn cleaned(&self, secret: &str, result: &BTreeMap<&str, String>) -> Result<()> {
        let url = self.url(&["api", "v1", "namespaces", NAMESPACE, "secrets", secret], &[])?;
        let mut document = self.ask(Method::GET, url.clone(), None).await?;
        let text = serde_json::to_vec(result).map_err(|why| Error::internal(Stage::Report, why.to_string()))?;
        let field = |document: &mut Value, at: &[&str], set: &dyn Fn(&mut Map<String, Value>)| {
            let mut inner = document;
            for name in at {
                let Some(object) = inner.as_object_mut() else { return };
                inner = object.entry(*name).or_insert_with(|| json!({}));
                if inner.is_null() {
                    *inner = json!({});
                }
            }
            inner.as_object_mut().into_iter().for_each(set);
        };
        field(&mut document, &["metadata", "annotations"], &|annotations| {
            annotations.insert(DONE.to_owned(), json!(""));
            annotations.remove(ASKED);
        });
        field(&mut document, &["data"], &|data| drop(data.insert("result".to_owned(), json!(STANDARD.encode(&text)))));
        // With its resourceVersion: who changed it meanwhile is not overwritten.
        let body = serde_json::to_vec(&document).map_err(|why| Error::internal(Stage::Report, why.to_string()))?;
        self.ask(Method::PUT, url, Some(Bytes::from(body))).await.map(drop)
    }

    /// Namespace and name of every resource of a kind that is `wanted`.
    async fn list(
        &self,
        kind: &str,
        wanted: impl Fn(&Value) -> bool,
        mut each: impl FnMut((String, String)) -> bool,
    ) -> Result<()> {
        let mut path: Vec<&str> = API.split('/').collect();
        path.push(kind);
        let limit = PAGE.to_string();
        let mut next = String::new();
        for _ in 0..MAX_PAGES {
            let mut query = vec![("limit", limit.as_str())];
            if !next.is_empty() {
                query.push(("continue", &next));
            }
            let page = self.ask(Method::GET, self.url(&path, &query)?, None).await?;
            let items = page.get("items").and_then(Value::as_array);
            let items = items.ok_or_else(|| protocol(format!("its answer is no list of {kind}")))?;
            for item in items {
                let text = |name: &str| item.pointer(&format!("/metadata/{name}")).and_then(Value::as_str);
                let name = text("name").ok_or_else(|| protocol(format!("one of its {kind} has no name")))?;
                let namespace = text("namespace").unwrap_or_default();
                if namespace.is_empty() && kind != CLUSTER_IMAGES {
                    return Err(protocol(format!("one of its {kind} has no namespace")));
                }
                if wanted(item) {
                    each((namespace.to_owned(), name.to_owned()));
                }
            }
            next = match page.pointer("/metadata/continue") {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(next)) => next.clone(),
                Some(_) => return Err(protocol(format!("the next page of its {kind} has no name"))),
            };
            if next.is_empty() {
                return Ok(());
            }
        }
        Err(protocol(format!("it has more than {MAX_PAGES} pages of {kind}")))
    }

    async fn ask(&self, method: Method, url: Url, body: Option<Bytes>) -> Result<Value> {
        let what = format!("{method} {}", redacted(&url));
        let mut request = Request::new(method, url);
        if let Some(body) = body {
            request = request.with_bytes(body);
            request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        request.headers.insert(AUTHORIZATION, self.authorization.clone());
        request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        request.answer_within = Some(self.client.policy().limits.answer);
        let response = self.client.send(request).await?;
        let status = response.status;
        let answer = response.body.collect(MAX_ANSWER).await?;
        let document = serde_json::from_slice::<Value>(&answer).ok();
        if status != 200 {
            let said = document.as_ref().and_then(|document| document.get("message")?.as_str());
            let said: String = said.unwrap_or_default().chars().filter(|c| !c.is_control()).take(300).collect();
            let message = format!("{what}: the cluster answered {status} {said}");
            let code = if matches!(status, 401 | 403) { Code::RegistryDenied } else { Code::RegistryFailed };
            return Err(Error::new(code, Stage::Plan, message.trim_end().to_owned()).retryable_as(Retryable::No));
        }
        document.ok_or_else(|| protocol(format!("{what}: its answer is no JSON")))
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url> {
        let mut url = self.api.clone();
        let unusable = || Error::internal(Stage::Plan, "no URL can be made of the API's");
        url.path_segments_mut().map_err(|()| unusable())?.clear().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

fn protocol(message: String) -> Error {
    Error::new(Code::RegistryProtocol, Stage::Plan, format!("the cluster's API: {message}"))
}
