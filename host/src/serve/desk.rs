//! Which request is for whom.
//!
//! | path | methods |
//! |---|---|
//! | `/` | GET: the upload page |
//! | `/upload` | PUT and POST: a disk as one body; POST with `Tus-Resumable`: an upload in parts; GET: whether one could begin; OPTIONS: what of tus is known |
//! | `/upload/ID` | HEAD, PATCH, DELETE: tus; GET: what became of it |
//! | `/healthz`, `/readyz`, `/metrics` | GET |

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::Manners;
use super::access::Access;
use super::answer::{Refused, bare, with_body};
use super::refusal::Refusal;
use super::uploads::Uploads;
use super::{exposition, metrics, page, simple, tus};
use crate::net::{Attendant, Call, Peer, Reply};

/// Answers the requests of one listener.
pub(super) struct Desk {
    pub(super) uploads: Rc<Uploads>,
    pub(super) access: Rc<Access>,
    pub(super) scope: Scope,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Everything.
    All,
    /// Health and metrics, which nobody needs a token for.
    Health,
}

const TEXT: &str = "text/plain; charset=utf-8";

impl Attendant for Desk {
    fn connected(&self, peer: &Peer) {
        self.uploads.totals.connected(peer.tls.as_ref());
    }

    fn turned_away(&self, address: SocketAddr, why: &str) {
        self.uploads.totals.turned_away();
        self.uploads.told().turned_away(address, why);
    }

    async fn answer(&self, mut call: Call) -> Reply {
        let head = call.head.method == Method::HEAD;
        let reply = self.answered(&mut call).await.unwrap_or_else(Refused::reply);
        self.uploads.totals.answered(reply.status().as_u16());
        // HEAD is answered without a body (RFC 9110 §9.3.2), and with the fields of the one that GET would get.
        if head { reply.map(|_| Bytes::new()) } else { reply }
    }
}

impl Desk {
    async fn answered(&self, call: &mut Call) -> Result<Reply, Refused> {
        if self.uploads.service().manners == Manners::Dvcr {
            return self.as_replaced(call).await;
        }
        self.access.same_origin(&call.head.headers)?;
        let path = call.head.uri.path().to_owned();
        match path.as_str() {
            "/healthz" => {
                get(call)?;
                Ok(with_body(StatusCode::OK, TEXT, Bytes::from_static(b"OK\n")))
            }
            "/readyz" => {
                get(call)?;
                self.uploads.has_place().or_else(busy_is_ready)?;
                Ok(with_body(StatusCode::OK, TEXT, Bytes::from_static(b"OK\n")))
            }
            "/metrics" => {
                get(call)?;
                if self.scope == Scope::All {
                    self.access.check(&call.head.headers)?;
                }
                Ok(with_body(StatusCode::OK, exposition::MEDIA_TYPE, metrics::of_uploads(&self.uploads).into()))
            }
            _ if self.scope == Scope::Health => Err(nothing()),
            "/" => {
                get(call)?;
                Ok(page::page())
            }
            "/upload" => self.upload(call).await,
            path => match path.strip_prefix("/upload/") {
                Some(id) => {
                    self.access.check(&call.head.headers)?;
                    tus::resource(&self.uploads, id, call).await
                }
                None => Err(nothing()),
            },
        }
    }

    /// As the uploader did that is replaced: it is ready as long as it answers, whoever has the path may upload, and what it
    /// does not know is not there. Uploads in parts are there for clients that ask for them.
    async fn as_replaced(&self, call: &mut Call) -> Result<Reply, Refused> {
        let path = call.head.uri.path().to_owned();
        match (self.scope, &call.head.method, path.as_str()) {
            (Scope::Health, &(Method::GET | Method::HEAD), "/healthz") => {
                Ok(with_body(StatusCode::OK, TEXT, Bytes::from_static(b"OK")))
            }
            (Scope::Health, &(Method::GET | Method::HEAD), "/metrics") => {
                Ok(with_body(StatusCode::OK, exposition::MEDIA_TYPE, metrics::of_uploads(&self.uploads).into()))
            }
            (Scope::All, &Method::GET, "/upload") => Ok(bare(StatusCode::OK)),
            (Scope::All, &(Method::POST | Method::PUT), "/upload") => self.upload(call).await,
            (Scope::All, _, path) => match path.strip_prefix("/upload/") {
                Some(id) => tus::resource(&self.uploads, id, call).await,
                None => Err(nothing()),
            },
            _ => Err(nothing()),
        }
    }

    async fn upload(&self, call: &mut Call) -> Result<Reply, Refused> {
        const METHODS: &str = "GET, OPTIONS, POST, PUT";
        if call.head.method == Method::OPTIONS {
            return Ok(tus::options(&self.uploads));
        }
        self.access.check(&call.head.headers)?;
        match call.head.method {
            Method::GET => {
                self.uploads.has_place()?;
                Ok(bare(StatusCode::OK))
            }
            Method::POST if call.head.headers.contains_key(tus::RESUMABLE) => tus::create(&self.uploads, call).await,
            Method::PUT | Method::POST => simple::upload(&self.uploads, call).await,
            _ => Err(Refused::new(Refusal::MethodNotAllowed, "`/upload` has other methods").allow(METHODS)),
        }
    }
}

/// Who takes in what it can is ready, however much it has to do; who is about to end is not.
fn busy_is_ready(refused: Refused) -> Result<(), Refused> {
    if refused.refusal == Refusal::Busy { Ok(()) } else { Err(refused) }
}

/// Whether something is asked for that is only read.
pub(super) fn get(call: &Call) -> Result<(), Refused> {
    match call.head.method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Refused::new(Refusal::MethodNotAllowed, "this is read with GET").allow("GET, HEAD")),
    }
}

/// There is nothing there.
pub(super) fn nothing() -> Refused {
    Refused::new(Refusal::NotFound, "there is nothing at that path")
}
