//! A server of one disk that may have ranges, in many manners, and counts what it was asked.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use hyper::body::Incoming;
use hyper::{Request, Response};
use rustls::ServerConfig;

use crate::script::{Body, Handler, Script, empty, full, streamed};

/// How it answers a request for a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Honest,
    /// It has none, and says so.
    InOrder,
    /// As if there were no range in the request.
    Ignores,
    /// With a part of another content, as it says itself, once it was asked for something.
    AnotherTag,
    /// As the standard has it when the condition does not hold: with the whole of another content.
    ConditionFails,
    /// With this status.
    Status(u16),
    /// With the bits of the disk's byte at this offset flipped.
    Flips(u64),
    /// With half of the bytes it announces.
    BreaksOff,
    /// With one byte less than was asked for, and says so.
    Short,
}

/// What it has seen.
#[derive(Default)]
pub struct Asked {
    /// The `Range` of every request, none for the whole.
    pub requests: Mutex<Vec<Option<String>>>,
    /// Bytes of bodies that were handed to the connection.
    pub sent: AtomicU64,
}

/// How long the connection has for what it was handed before it breaks off.
const FLUSHED_WITHIN: Duration = Duration::from_millis(50);

/// Pause and size of each chunk, from its number.
pub type Pace = Arc<dyn Fn(u64) -> (Duration, usize) + Send + Sync>;

/// The disk.
#[derive(Clone)]
pub enum Content {
    Bytes(Bytes),
    File(Arc<File>),
}

impl Content {
    pub fn file(path: &Path) -> Self {
        Self::File(Arc::new(File::open(path).expect("a disk")))
    }

    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.metadata().expect("a size").len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self, offset: u64, length: usize) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes.slice(offset as usize..offset as usize + length),
            Self::File(file) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, offset).expect("bytes of the disk");
                bytes.into()
            }
        }
    }
}

/// Serves `disk` without a pause.
pub fn serve(disk: Content, manner: Manner) -> (Script, Arc<Asked>) {
    serve_paced(disk, manner, Arc::new(|_| (Duration::ZERO, 64 * 1024)))
}

/// The same over connections that hold much: what it has sent may be far from having arrived.
pub fn serve_wide(disk: Content, manner: Manner) -> (Script, Arc<Asked>) {
    serve_wide_over(None, disk, manner)
}

/// The same over TLS, if there is a configuration for it.
pub fn serve_wide_over(tls: Option<Arc<ServerConfig>>, disk: Content, manner: Manner) -> (Script, Arc<Asked>) {
    let (handler, asked) = answering(disk, manner, Arc::new(|_| (Duration::ZERO, 256 * 1024)));
    (Script::start(tls, handler), asked)
}

/// Serves `disk` in chunks that come when `pace` says.
pub fn serve_paced(disk: Content, manner: Manner, pace: Pace) -> (Script, Arc<Asked>) {
    let (handler, asked) = answering(disk, manner, pace);
    (Script::start_narrow(handler), asked)
}

fn answering(disk: Content, manner: Manner, pace: Pace) -> (Handler, Arc<Asked>) {
    let asked = Arc::new(Asked::default());
    let shared = Arc::clone(&asked);
    let handler: Handler = Arc::new(move |request| {
        let answer = answer(&disk, manner, &pace, &shared, &request);
        Box::pin(async move { answer })
    });
    (handler, asked)
}

impl Asked {
    /// How many requests there were, and how many bytes they were given.
    pub fn sum(&self) -> (usize, u64) {
        (self.requests.lock().unwrap().len(), self.sent.load(SeqCst))
    }

    /// The ranges in the order asked for, without those for the whole.
    pub fn ranges(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().flatten().cloned().collect()
    }
}

fn answer(
    disk: &Content,
    manner: Manner,
    pace: &Pace,
    asked: &Arc<Asked>,
    request: &Request<Incoming>,
) -> Response<Body> {
    let range = request.headers().get("range").map(|range| range.to_str().expect("a range").to_owned());
    asked.requests.lock().unwrap().push(range.clone());
    let size = disk.len();
    let whole = |tag: &str| headed(body(disk, 0, size, size, manner, pace, asked), tag, manner);
    let Some(range) = range else { return whole("\"one\"") };
    let (first, last) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).expect("a range of bytes");
    let first: u64 = first.parse().expect("an offset");
    let last = last.parse().map_or(size.saturating_sub(1), |last: u64| last.min(size.saturating_sub(1)));
    let last = if manner == Manner::Short { last - 1 } else { last };
    let announced = last + 1 - first;
    match manner {
        Manner::Ignores | Manner::InOrder => return whole("\"one\""),
        Manner::ConditionFails => return whole("\"two\""),
        Manner::Status(status) => return full(status, "the script says no"),
        _ if first >= size => return empty(416),
        _ => {}
    }
    let given = if manner == Manner::BreaksOff { announced / 2 } else { announced };
    let mut part = body(disk, first, given, announced, manner, pace, asked);
    *part.status_mut() = hyper::StatusCode::PARTIAL_CONTENT;
    let field = format!("bytes {first}-{last}/{size}");
    part.headers_mut().insert("content-range", field.parse().expect("a field"));
    let is_first = asked.requests.lock().unwrap().len() == 1;
    headed(part, if manner == Manner::AnotherTag && !is_first { "\"two\"" } else { "\"one\"" }, manner)
}

fn headed(mut answer: Response<Body>, tag: &str, manner: Manner) -> Response<Body> {
    let fields = answer.headers_mut();
    fields.insert("etag", tag.parse().expect("a tag"));
    if manner != Manner::InOrder {
        fields.insert("accept-ranges", "bytes".parse().expect("a unit"));
    }
    answer
}

/// `given` bytes from `offset`, of which `announced` are announced.
fn body(
    disk: &Content,
    offset: u64,
    given: u64,
    announced: u64,
    manner: Manner,
    pace: &Pace,
    asked: &Arc<Asked>,
) -> Response<Body> {
    let is_part = announced < disk.len();
    let (disk, pace, asked) = (disk.clone(), Arc::clone(pace), Arc::clone(asked));
    let chunks = stream::unfold((offset, 0), move |(at, number)| {
        let (disk, pace, asked) = (disk.clone(), Arc::clone(&pace), Arc::clone(&asked));
        async move {
            let left = offset + given - at;
            if left == 0 {
                if given < announced {
                    // What was given is to arrive before the connection breaks.
                    tokio::time::sleep(FLUSHED_WITHIN).await;
                }
                return (given < announced)
                    .then(|| (Err(std::io::Error::other("the script breaks off")), (at, number)));
            }
            let (pause, most) = pace(number);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let length = left.min(most as u64);
            let mut chunk = disk.read(at, length as usize);
            if let Manner::Flips(flipped) = manner
                && is_part
                && (at..at + length).contains(&flipped)
            {
                let mut other = chunk.to_vec();
                other[(flipped - at) as usize] ^= 0xFF;
                chunk = other.into();
            }
            asked.sent.fetch_add(length, SeqCst);
            Some((Ok(chunk), (at + length, number + 1)))
        }
    });
    streamed(Some(announced), chunks)
}
