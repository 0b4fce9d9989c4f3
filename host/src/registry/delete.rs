//! Taking manifests and tags away (distribution-spec, "Content Management").

use http::Method;

use super::answer::failure;
use super::conversation::{Replay, what};
use super::pull::{Pull, accepting};
use crate::error::{Code, Error, Result, Retryable, Stage};
use crate::net::{Request, Response};
use crate::oci::{Digest, Tag};

/// Everything here happens in one conversation with the registry.
const STAGE: Stage = Stage::Publish;

impl Pull {
    /// Deletes the manifest of that digest, and with it every tag that leads to it. Whether it was there.
    ///
    /// # Errors
    /// `registry-failed` if the registry does not delete, `registry-protocol` if it only says so, else the registry's.
    pub async fn delete_manifest(&mut self, digest: &Digest) -> Result<bool> {
        self.delete(&digest.to_string()).await
    }

    /// Deletes a tag, and nothing else, in a registry that knows how. Whether it was there.
    ///
    /// # Errors
    /// As for [`Self::delete_manifest`], also where the image went with it.
    pub async fn delete_tag(&mut self, tag: &Tag, digest: &Digest) -> Result<bool> {
        let was_there = self.delete(tag.as_str()).await?;
        match self.digested(digest).await {
            Ok(_) => Ok(was_there),
            Err(error) if error.code() == Code::RegistryNotFound => {
                let message = format!("{} deleted the image {digest} with its tag `{tag}`", self.repository());
                Err(Error::new(Code::RegistryProtocol, STAGE, message))
            }
            Err(error) => Err(error),
        }
    }

    async fn delete(&mut self, reference: &str) -> Result<bool> {
        let url = self.conversation().url(&format!("manifests/{reference}"))?;
        let what = what(&Method::DELETE, &url);
        let delete = || Request::new(Method::DELETE, url.clone());
        // Within `call` because the right to delete is asked for once the registry says by a 401 that it wants it.
        let response = self.conversation().call(STAGE, Replay::Always, delete).await?;
        let was_there = match response.status {
            200 | 202 | 204 => true,
            404 => false,
            _ => return Err(refused(&what, response).await),
        };
        let accepting = accepting()?;
        let head = || {
            let mut head = Request::new(Method::HEAD, url.clone());
            head.headers.extend(accepting.clone());
            head
        };
        let asked = self.conversation().call(STAGE, Replay::Always, head).await?;
        match asked.status {
            404 => Ok(was_there),
            // Whoever knows no DELETE may say that there is nothing.
            200 if !was_there => Err(refused(&what, response).await),
            200 => {
                let message = format!("{what}: the registry says that it deleted it, and still has it");
                Err(Error::new(Code::RegistryProtocol, STAGE, message))
            }
            _ => Err(failure(STAGE, &format!("HEAD {}", what.trim_start_matches("DELETE ")), asked).await),
        }
    }
}

/// Who does not delete says so in one of several ways.
async fn refused(what: &str, response: Response) -> Error {
    let status = response.status;
    let error = failure(STAGE, what, response).await;
    match status {
        400 | 404 | 405 | 501 => {
            let hint = "the registry does not delete this: distribution does with `storage.delete.enabled: true`, and its \
                        version 2 deletes no tag alone; others have an API of their own for it";
            let told = Error::new(Code::RegistryFailed, STAGE, error.to_string());
            told.retryable_as(Retryable::No).hint(hint)
        }
        _ => error,
    }
}
