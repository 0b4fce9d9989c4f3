//! A blob that the host itself reads to send it on, and that a source component reads along instead of asking for it once more.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use http::header::RANGE;

use super::request::Checked;
use crate::oci::Digest;
use crate::stream::Flow;

/// Where the host leaves the blob; the next request of the component for all of it gets it.
#[derive(Clone, Default)]
pub struct Alongside(Arc<Mutex<Option<Blob>>>);

/// A blob on its way.
pub(super) struct Blob {
    digest: Digest,
    pub(super) size: u64,
    pub(super) flow: Flow,
}

impl Alongside {
    /// Leaves it.
    pub fn bring(&self, digest: Digest, size: u64, flow: Flow) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Blob { digest, size, flow });
    }

    /// Takes back what nobody asked for: the flow waits for nobody then.
    pub fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The blob, if that is what is asked for.
    pub(super) fn take(&self, request: &Checked) -> Option<Blob> {
        if request.method != Method::GET || request.headers.contains_key(RANGE) {
            return None;
        }
        let (_, name) = request.url.path().rsplit_once("/blobs/")?;
        let asked: Digest = name.replace("%3A", ":").parse().ok()?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take_if(|blob| blob.digest == asked)
    }
}

impl fmt::Debug for Alongside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alongside")
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn only_a_request_for_all_of_it_gets_it_and_once() {
        let alongside = Alongside::default();
        let digest = Digest::of(b"x");
        let get = |path: &str| Checked::new(Method::GET, Url::parse(&format!("https://r.example{path}")).unwrap());
        let whole = get(&format!("/v2/vm/blobs/{digest}"));
        assert!(alongside.take(&whole).is_none());
        alongside.bring(digest, 1, Flow::empty());
        let mut part = get(&format!("/v2/vm/blobs/{digest}"));
        part.headers.insert(RANGE, "bytes=0-0".parse().unwrap());
        for other in
            [part, get(&format!("/v2/vm/manifests/{digest}")), get(&format!("/v2/vm/blobs/{}", Digest::of(b"y")))]
        {
            assert!(alongside.take(&other).is_none());
        }
        assert!(alongside.take(&whole).is_some_and(|blob| blob.size == 1));
        assert!(alongside.take(&whole).is_none());
        alongside.bring(digest, 1, Flow::empty());
        alongside.forget();
        assert!(alongside.take(&whole).is_none());
    }
}
