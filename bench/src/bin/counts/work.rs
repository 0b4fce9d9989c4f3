//! The hot functions, each alone over chunks that are there already.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use longshore::engine::{CachePlace, Compiler, Engine, Kind, Origin, Unchecked};
use longshore::error::{Error, Stage};
use longshore::policy::Limits;
use longshore::stages;
use longshore::stream::{Chunks, Failing, Flow, Layer, Pulse, Segment, framed, hashed, outcome, pipe};
use longshore_bench::peers::beside;
use longshore_tests::fixtures::Fixture;

/// Bytes per chunk: a little more than a connection gives on average.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes per chunk where each is hashed: the wrapper counts, not the hash.
const HASHED_BYTES: usize = 64;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// A flow and its outcome.
    Flow,
    /// The layer around the payload.
    Framing,
    /// The digest as the bytes pass.
    Hashing,
    /// From a producer that pushes to a flow that is pulled.
    Pipe,
    /// Through a guest that reads every byte and writes it again.
    Guest,
}

impl Work {
    pub(crate) const ALL: [Self; 5] = [Self::Flow, Self::Framing, Self::Hashing, Self::Pipe, Self::Guest];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Framing => "framing",
            Self::Hashing => "hashing",
            Self::Pipe => "pipe",
            Self::Guest => "guest",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|work| work.name() == name).with_context(|| format!("there is no work `{name}`"))
    }

    /// Whether there is no wasm in it.
    pub(crate) fn native(self) -> bool {
        self != Self::Guest
    }

    /// Does it once, over that many chunks.
    pub(crate) fn run(self, chunks: usize) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let bytes = chunks * if self == Self::Hashing { HASHED_BYTES } else { CHUNK_BYTES };
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let got = match self {
                Self::Flow => drained(flow(CHUNK_BYTES, chunks)).await?,
                Self::Hashing => drained(hashed(flow(HASHED_BYTES, chunks), Arc::default()).0).await?,
                Self::Framing => {
                    let layer = Layer::new(vec![Segment::Payload], bytes as u64).map_err(anyhow::Error::msg)?;
                    drained(framed(&layer, flow(CHUNK_BYTES, chunks))).await?
                }
                Self::Pipe => piped(chunks).await?,
                Self::Guest => guest(chunks).await?,
            };
            ensure!(got == bytes, "{got} bytes came out, expected {bytes}");
            Ok(())
        })
    }
}

/// The same chunk again and again.
struct Same {
    chunk: Bytes,
    left: usize,
}

impl Chunks for Same {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        Poll::Ready(Some(Ok(self.chunk.clone())))
    }
}

fn flow(bytes: usize, chunks: usize) -> Flow {
    let (setter, outcome) = outcome(Stage::Source, "bench");
    setter.set(Ok(()));
    Flow::new(Same { chunk: vec![7; bytes].into(), left: chunks }, outcome, None)
}

async fn drained(mut flow: Flow) -> Result<usize> {
    let mut bytes = 0;
    while let Some(chunk) = flow.next().await? {
        bytes += chunk.len();
    }
    Ok(bytes)
}

async fn piped(chunks: usize) -> Result<usize> {
    let (writer, reader) = pipe(Pulse::default());
    let (setter, outcome) = outcome(Stage::Source, "bench");
    let chunk = Bytes::from(vec![7; CHUNK_BYTES]);
    tokio::task::spawn_local(async move {
        for _ in 0..chunks {
            if poll_fn(|cx| writer.poll_ready(cx)).await.is_err() {
                return;
            }
            writer.push(chunk.clone());
        }
        setter.set(Ok(()));
    });
    drained(Flow::new(reader, outcome, None)).await
}

async fn guest(chunks: usize) -> Result<usize> {
    let engine = Engine::new(&Limits::default())?;
    // No clock: an interruption would come at another place every time.
    let path = Fixture::FilterRot.path();
    let wasm = std::fs::read(&path)?;
    let program = beside("longshore")?;
    let compiler = Compiler { program, cache: CachePlace::Nowhere };
    let named = ("filter", Origin::File(path.into()));
    let component = Unchecked::compiled(&engine, &compiler, named, &wasm).await?.fit(&engine, Kind::Filter)?;
    let size = Some((chunks * CHUNK_BYTES) as u64);
    let flow = flow(CHUNK_BYTES, chunks);
    drained(stages::filter(&engine, &component, flow, size, None, Failing::AtOnce).await?.flow).await
}
