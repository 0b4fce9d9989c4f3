//! The body of a request as it arrives.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use http_body::Body as _;
use hyper::body::Incoming;

/// The bytes of a request's body. Nothing is read from the socket that nobody has asked for, but for one buffer.
pub struct Arriving(Incoming);

/// The body did not arrive whole: the connection broke, or its framing is malformed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Broken(String);

impl Arriving {
    pub(super) const fn new(body: Incoming) -> Self {
        Self(body)
    }

    /// How many bytes are still to come, if the request says so.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.0.size_hint().exact()
    }

    /// The next bytes, never empty; none once all that the request's head announced have come.
    pub async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        loop {
            match poll_fn(|cx| Pin::new(&mut self.0).poll_frame(cx)).await? {
                // Trailers say nothing that we would know.
                Ok(frame) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => return Some(Ok(bytes)),
                    Ok(_) | Err(_) => {}
                },
                Err(why) => return Some(Err(Broken(why.to_string()))),
            }
        }
    }
}
