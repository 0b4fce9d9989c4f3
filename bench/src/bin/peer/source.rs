//! A disk of any size that nobody stores: the same noise again and again, with ranges.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, RANGE};
use hyper::{Method, Request, Response};
use longshore_bench::data::{BLOCK_BYTES, Noise};
use longshore_tests::script::{Body, Handler, empty, streamed};

/// Bytes per chunk.
const CHUNK_BYTES: u64 = 256 * 1024;

/// Serves `length` bytes under every path.
pub(crate) fn handler(length: u64) -> Handler {
    let mut block = vec![0; BLOCK_BYTES];
    Noise::default().fill(&mut block);
    let block = Bytes::from(block);
    Arc::new(move |request| {
        let block = block.clone();
        Box::pin(async move { answer(&block, length, &request) })
    })
}

fn answer(block: &Bytes, length: u64, request: &Request<Incoming>) -> Response<Body> {
    let range = request.headers().get(RANGE).and_then(|range| range.to_str().ok()).map(|text| asked(text, length));
    let (from, to) = match range {
        None => (0, length),
        Some(Some(range)) => range,
        Some(None) => return empty(416),
    };
    let mut answer = if request.method() == Method::HEAD {
        let mut head = empty(200);
        head.headers_mut().insert("content-length", (to - from).into());
        head
    } else {
        streamed(Some(to - from), chunks(block.clone(), from, to))
    };
    let fields = answer.headers_mut();
    fields.insert("accept-ranges", HeaderValue::from_static("bytes"));
    fields.insert("etag", HeaderValue::from_static("\"noise\""));
    if range.is_some() {
        if let Ok(value) = format!("bytes {from}-{}/{length}", to - 1).parse() {
            fields.insert("content-range", value);
        }
        *answer.status_mut() = hyper::StatusCode::PARTIAL_CONTENT;
    }
    answer
}

/// The bytes of one range, its end excluded; none if it is malformed or behind the end.
fn asked(text: &str, length: u64) -> Option<(u64, u64)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (from, to) {
        ("", last) => (length.saturating_sub(last.parse().ok()?), length),
        (from, "") => (from.parse().ok()?, length),
        (from, to) => (from.parse().ok()?, to.parse::<u64>().ok()?.checked_add(1)?.min(length)),
    };
    (from < to).then_some((from, to))
}

fn chunks(block: Bytes, from: u64, to: u64) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send {
    stream::unfold(from, move |at| {
        let within = at % BLOCK_BYTES as u64;
        let count = CHUNK_BYTES.min(BLOCK_BYTES as u64 - within).min(to - at);
        let chunk = (count > 0).then(|| block.slice(within as usize..(within + count) as usize));
        async move { chunk.map(|chunk| (Ok(chunk), at + count)) }
    })
}
