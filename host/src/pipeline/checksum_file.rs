//! `--checksum-file`: fetched or read, and the one entry in it that is for the disk.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use http::header::{CONTENT_ENCODING, LOCATION};
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use url::Url;

use super::sums::{Found, find};
use super::{Checksum, Input, Source};
use crate::error::{Code, Error, Result, Stage};
use crate::net::{GrantedClient, Net, Request, Response, redacted};
use crate::policy::{Origin, Side};

/// The most bytes of a checksum file.
const MAX_FILE: usize = 1 << 20;

/// What can be done instead.
const ITSELF: &str = "give the checksum itself: --checksum ALGO:HEX";

/// Where a checksum file is.
#[derive(Clone, Debug)]
pub enum ChecksumFile {
    /// A URL, without user information.
    Http(Url),
    /// A file on this machine.
    File(PathBuf),
}

impl ChecksumFile {
    /// The location as it may be shown.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Http(url) => redacted(url),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// What the file demands of the bytes received from SOURCE.
pub(super) async fn resolve(file: &ChecksumFile, input: &Input, net: &Net) -> Result<Checksum> {
    let name = file_name(&input.source)?;
    let document = match file {
        ChecksumFile::Http(url) => {
            fetch(url, input, net).await.map_err(|error| error.context("--checksum-file asked for it"))?
        }
        ChecksumFile::File(path) => read(path).map_err(|why| {
            let message = format!("the checksum file `{}` cannot be read: {why}", path.display());
            Error::new(Code::LocalFile, Stage::Checksum, message).caused_by(why)
        })?,
    };
    let shown = file.shown();
    let Found { sum, line } = find(&document, &name).map_err(|why| {
        let message = format!("the checksum file {shown}, asked for `{}`: {why}", String::from_utf8_lossy(&name));
        Error::new(Code::ChecksumFileUnusable, Stage::Checksum, message).hint(ITSELF)
    })?;
    Ok(Checksum::named_by(sum, format!("line {line} of {shown}")))
}

/// The last segment of SOURCE as typed, decoded: what a checksum file calls it.
fn file_name(source: &Source) -> Result<Vec<u8>> {
    let name = match source {
        Source::Http(url) => {
            let last = url.path_segments().and_then(|mut segments| segments.next_back());
            last.map(|segment| percent_decode_str(segment).collect())
        }
        Source::File(path) => path.file_name().map(|name| name.as_encoded_bytes().to_vec()),
        Source::Other(location) => {
            let path = location.without_query();
            path.rsplit('/').next().map(|segment| percent_decode_str(segment).collect())
        }
        Source::StandardInput | Source::Upload(_) => None,
    };
    name.filter(|name| !name.is_empty()).ok_or_else(|| {
        let message = format!("{} has no name to look for in a checksum file", source.shown());
        Error::new(Code::Usage, Stage::Plan, message).hint(ITSELF)
    })
}

/// Through the source side's policy, from the origin that the user typed and wherever it redirects. Credentials for SOURCE
/// go along where the file lies beside the disk.
async fn fetch(url: &Url, input: &Input, net: &Net) -> Result<Vec<u8>> {
    let failed = |code, words: String| Error::new(code, Stage::Source, words);
    let origin = Origin::of(url).map_err(|why| failed(Code::Usage, format!("{}: {why}", redacted(url))))?;
    let client = GrantedClient::new(net.client(Side::Source, vec![origin.clone()]), Some(origin))
        .presenting(input.fields.clone(), input.source.origin(&net.policy().egress)?);
    let mut url = url.clone();
    // The client ends a loop of redirects.
    loop {
        let response = client.send(Request::new(Method::GET, url.clone())).await?;
        let whose = format!("GET {}", redacted(&url));
        match response.status {
            200 => return body(response, &whose).await,
            301 | 302 | 303 | 307 | 308 => {
                url = location(&response.headers, &url).ok_or_else(|| {
                    failed(Code::SourceInvalid, format!("{whose}: the server redirects without a usable location"))
                })?;
            }
            status => {
                let code = match status {
                    401 | 403 | 407 => Code::SourceDenied,
                    404 | 410 => Code::SourceNotFound,
                    _ => Code::SourceFailed,
                };
                let error = failed(code, format!("{whose}: the server answered {status}"));
                return Err(if matches!(status, 401 | 403) { error.hint(client.advice(&url)) } else { error });
            }
        }
    }
}

async fn body(response: Response, whose: &str) -> Result<Vec<u8>> {
    let encoding =
        response.headers.get(CONTENT_ENCODING).filter(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if let Some(coding) = encoding {
        let message = format!("{whose}: the server sent content-encoding {coding:?}, expected none");
        return Err(Error::new(Code::SourceInvalid, Stage::Source, message));
    }
    response.body.collect(MAX_FILE).await
}

fn location(headers: &HeaderMap, base: &Url) -> Option<Url> {
    base.join(headers.get(LOCATION)?.to_str().ok()?).ok()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut document = Vec::new();
    File::open(path)?.take(MAX_FILE as u64 + 1).read_to_end(&mut document)?;
    if document.len() > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {MAX_FILE} bytes")));
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_last_segment_as_typed() {
        let http = |url: &str| file_name(&Source::Http(Url::parse(url).unwrap())).ok();
        assert_eq!(http("https://a.example/x/my%20disk.raw?sig=1#f").unwrap(), b"my disk.raw");
        assert_eq!(http("https://a.example/x%FF").unwrap(), b"x\xFF");
        assert_eq!(http("https://a.example/x/"), None);
        assert_eq!(file_name(&Source::File("/a/b%20.raw".into())).unwrap(), b"b%20.raw");
        assert_eq!(file_name(&Source::StandardInput).unwrap_err().code(), Code::Usage);
    }
}
