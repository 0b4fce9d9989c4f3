//! A registry that a source component reads from: its challenges are answered here, so that the component sees no realm, no
//! token and no password.

use http::HeaderMap;
use tokio::sync::Mutex;
use url::Url;

use super::answer::GIVE_CREDENTIALS;
use super::authorizer::Authorizer;
use super::credentials::Credentials;
use crate::error::{Code, Error, Stage};
use crate::net::{Answer, Answering, Client, Request};
use crate::oci::Repository;

/// Reads of one repository, in the name of whoever gave these credentials.
pub struct Reader(Mutex<Authorizer>);

impl Reader {
    /// Of a repository of the registry at `registry`.
    #[must_use]
    pub fn new(registry: &Url, repository: &Repository, credentials: Option<Credentials>) -> Self {
        Self(Mutex::new(Authorizer::new(registry, repository.path(), &["pull"], credentials)))
    }
}

impl Answering for Reader {
    fn authorize<'a>(&'a self, client: &'a Client, request: &'a mut Request) -> Answer<'a, ()> {
        Box::pin(
            async move { self.0.lock().await.authorize(client, Stage::Source, request).await.map_err(of_the_source) },
        )
    }

    fn challenged<'a>(&'a self, client: &'a Client, headers: &'a HeaderMap) -> Answer<'a, bool> {
        Box::pin(
            async move { self.0.lock().await.challenged(client, Stage::Source, headers).await.map_err(of_the_source) },
        )
    }

    fn advice(&self) -> String {
        format!("{GIVE_CREDENTIALS}, or into a file for --source-credentials")
    }
}

/// What is said of a registry that is pushed to, of one that is read from.
#[must_use]
pub fn of_the_source(error: Error) -> Error {
    let code = match error.code() {
        Code::RegistryDenied => Code::SourceDenied,
        Code::RegistryNotFound => Code::SourceNotFound,
        Code::RegistryFailed => Code::SourceFailed,
        Code::RegistryProtocol | Code::RegistryMismatch => Code::SourceInvalid,
        Code::RegistryUnreachable => Code::SourceUnreachable,
        Code::RegistryStalled => Code::SourceStalled,
        _ => return error,
    };
    error.told_as(code, Stage::Source)
}
