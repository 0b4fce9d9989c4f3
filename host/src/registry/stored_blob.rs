//! A blob of a repository as somebody reads it who copies it: from any offset, as often as it takes.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::Mutex;

use super::pull::Pull;
use super::source::of_the_source;
use crate::error::{Result, Stage};
use crate::net::Body;
use crate::oci::Descriptor;
use crate::stream::{Chunks, Flow, Ranges, Reading, outcome};

/// A blob of SOURCE's repository. What is read is not verified: its digest is over all of it.
pub struct StoredBlob {
    pull: Arc<Mutex<Pull>>,
    blob: Descriptor,
}

impl StoredBlob {
    /// The blob that `pull` has by that digest.
    #[must_use]
    pub fn new(pull: Pull, blob: Descriptor) -> Self {
        Self { pull: Arc::new(Mutex::new(pull)), blob }
    }
}

impl Ranges for StoredBlob {
    fn read(&self, offset: u64, length: u64) -> Reading {
        let (pull, blob) = (Arc::clone(&self.pull), self.blob.clone());
        Box::pin(async move {
            let body = pull.lock().await.blob_part(&blob, offset, length).await.map_err(of_the_source)?;
            let (ended, outcome) = outcome(Stage::Source, "the registry");
            // A body ends well only with all its bytes.
            ended.set(Ok(()));
            Ok(Flow::new(Part(body), outcome, None))
        })
    }
}

struct Part(Body);

impl Chunks for Part {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.0.poll_chunk(cx)
    }
}
