//! An image layout on this machine, answering a source component as the registry of its one repository would.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue};
use url::Url;

use super::request::Checked;
use crate::error::{Code, Error, Result, Stage};
use crate::oci::Digest;
use crate::stream::{Flow, of_file, regular_file};

/// What stands in for the host of a layout: no name that could be resolved (RFC 6761 §6.4).
const HOST: &str = "layout.invalid";
/// What stands in for its repository.
const REPOSITORY: &str = "image";

/// A layout whose blobs a source may read, by their digests alone.
#[derive(Clone, Debug)]
pub struct StoredImages {
    layout: PathBuf,
}

/// An answer.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) length: u64,
    pub(super) flow: Flow,
}

impl StoredImages {
    /// Those of the layout in that folder.
    #[must_use]
    pub const fn new(layout: PathBuf) -> Self {
        Self { layout }
    }

    /// How a source component is told the image of that digest.
    #[must_use]
    pub fn location(digest: &Digest) -> String {
        format!("docker://{HOST}/{REPOSITORY}@{digest}")
    }

    /// Whether a URL is one of these.
    pub(super) fn has(url: &Url) -> bool {
        url.scheme() == "https" && url.host_str() == Some(HOST) && url.port().is_none()
    }

    /// Answers a GET.
    ///
    /// # Errors
    /// `egress-denied` for everything that is not here, `local-file` if it cannot be read.
    pub(super) fn answer(&self, request: &Checked) -> Result<Answered> {
        if !Self::has(&request.url) {
            let message = format!(
                "the component asked for {}, which was not granted",
                request.url.origin().ascii_serialization()
            );
            return Err(Error::new(Code::EgressDenied, Stage::Source, message));
        }
        let Some(file) = digest(request.url.path()).map(|digest| self.open(&digest)).transpose()?.flatten() else {
            return Ok(self.answered(404, HeaderMap::new(), None, 0, 0));
        };
        let size = file.metadata().map_err(|why| failed(&self.shown(), why))?.len();
        let range = request.headers.get(RANGE).and_then(|range| part(range.to_str().ok()?, size));
        let file = Some(Arc::new(file));
        let Some((first, length)) = range else { return Ok(self.answered(200, HeaderMap::new(), file, 0, size)) };
        let field = format!("bytes {first}-{}/{size}", first.saturating_add(length).saturating_sub(1));
        let field = HeaderValue::try_from(field).map_err(|why| Error::internal(Stage::Source, why.to_string()))?;
        Ok(self.answered(206, HeaderMap::from_iter([(CONTENT_RANGE, field)]), file, first, length))
    }

    fn answered(&self, status: u16, headers: HeaderMap, file: Option<Arc<File>>, first: u64, length: u64) -> Answered {
        let shown = self.shown();
        let flow = match file {
            Some(file) => of_file(file, first, length, move |why| failed(&shown, why)),
            None => Flow::empty(),
        };
        Answered { status, headers, length, flow }
    }

    /// The blob, if it is there.
    fn open(&self, digest: &Digest) -> Result<Option<File>> {
        let path = self.layout.join("blobs").join("sha256").join(digest.hex());
        match regular_file(&path) {
            Ok(file) => Ok(Some(file)),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(failed(&self.shown(), why)),
        }
    }

    fn shown(&self) -> String {
        self.layout.display().to_string()
    }
}

fn failed(layout: &str, why: io::Error) -> Error {
    let message = format!("the image layout `{layout}` has a blob that cannot be read: {why}");
    Error::new(Code::LocalFile, Stage::Source, message).caused_by(why)
}

/// The digest that a path of the API ends in.
fn digest(path: &str) -> Option<Digest> {
    let (kind, digest) = path.strip_prefix(&format!("/v2/{REPOSITORY}/"))?.split_once('/')?;
    if !matches!(kind, "manifests" | "blobs") {
        return None;
    }
    digest.replace("%3A", ":").parse().ok()
}

/// First byte and length of a range that there is.
fn part(range: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first: u64 = first.parse().ok().filter(|first| *first < size)?;
    let end = if last.is_empty() { size } else { last.parse::<u64>().ok()?.saturating_add(1).min(size) };
    Some((first, end.checked_sub(first).filter(|length| *length > 0)?))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    async fn asked(images: &StoredImages, url: &str, range: Option<&str>) -> Result<(u16, Vec<u8>, Option<String>)> {
        let mut request = Checked::new(Method::GET, Url::parse(url).unwrap());
        if let Some(range) = range {
            request.headers.insert(RANGE, range.parse().unwrap());
        }
        let mut answered = images.answer(&request)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answered.flow.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        assert_eq!(answered.length, bytes.len() as u64);
        let field = answered.headers.get(CONTENT_RANGE).map(|field| field.to_str().unwrap().to_owned());
        Ok((answered.status, bytes, field))
    }

    #[tokio::test]
    async fn a_blob_is_given_as_a_whole_or_in_part_and_nothing_else_is() {
        let folder = std::path::Path::new("/tmp").join(format!("longshore-stored-{}", std::process::id()));
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let there = Digest::of(b"0123456789");
        std::fs::write(blobs.join(there.hex()), b"0123456789").unwrap();
        let images = StoredImages::new(folder.clone());
        for kind in ["blobs", "manifests"] {
            let url = format!("https://{HOST}/v2/image/{kind}/{there}");
            assert_eq!(asked(&images, &url, None).await.unwrap(), (200, b"0123456789".to_vec(), None));
            let part = asked(&images, &url, Some("bytes=2-4")).await.unwrap();
            assert_eq!(part, (206, b"234".to_vec(), Some("bytes 2-4/10".to_owned())));
            assert_eq!(asked(&images, &url, Some("bytes=8-")).await.unwrap().1, b"89");
            assert_eq!(asked(&images, &url, Some("bytes=8-99")).await.unwrap().1, b"89");
        }
        let absent = Digest::of(b"x");
        for path in
            [format!("image/blobs/{absent}"), "image/manifests/latest".to_owned(), format!("other/blobs/{there}")]
        {
            assert_eq!(asked(&images, &format!("https://{HOST}/v2/{path}"), None).await.unwrap().0, 404, "{path}");
        }
        for origin in ["http://layout.invalid", "https://layout.invalid:444", "https://r.example"] {
            let denied = asked(&images, &format!("{origin}/v2/image/blobs/{there}"), None).await.unwrap_err();
            assert_eq!(denied.code(), Code::EgressDenied, "{origin}");
        }
        std::fs::create_dir(blobs.join(absent.hex())).unwrap();
        let no_file = asked(&images, &format!("https://{HOST}/v2/image/blobs/{absent}"), None).await.unwrap_err();
        assert_eq!(no_file.code(), Code::LocalFile);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
