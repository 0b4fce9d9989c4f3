//! A look at how a flow begins, which takes nothing from it.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::{Chunks, Flow};
use crate::error::Result;

/// Reads `flow` until `most` bytes are there or it has ended well, and gives up to `most` of them together with a flow of
/// everything.
///
/// # Errors
/// Those of `flow`, if it fails before.
pub async fn beginning(mut flow: Flow, most: usize) -> Result<(Vec<u8>, Flow)> {
    let (mut seen, mut again) = (Vec::new(), VecDeque::new());
    while seen.len() < most {
        let Some(chunk) = flow.next().await? else { break };
        let missing = most.saturating_sub(seen.len());
        seen.extend_from_slice(chunk.get(..missing).unwrap_or(&chunk));
        again.push_back(chunk);
    }
    Ok((seen, preceded(flow, again)))
}

/// `flow` behind what was taken from its front.
#[must_use]
pub fn preceded(flow: Flow, again: VecDeque<Bytes>) -> Flow {
    Flow::through(Again { again, flow })
}

struct Again {
    again: VecDeque<Bytes>,
    flow: Flow,
}

impl Chunks for Again {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match self.again.pop_front() {
            Some(chunk) => Poll::Ready(Some(Ok(chunk))),
            None => self.flow.poll_next(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::tests::{collect, flow};
    use super::*;

    #[tokio::test]
    async fn it_is_seen_and_still_flows() {
        for (chunks, most, expected) in [
            (&[&b"abc"[..], b"def"][..], 2, &b"ab"[..]),
            (&[b"abc", b"def"], 4, b"abcd"),
            (&[b"a", b"b"], 2, b"ab"),
            (&[b"a", b"b"], 20, b"ab"),
            (&[], 20, b""),
            (&[b"a"], 0, b""),
        ] {
            let (seen, all) = beginning(flow(chunks), most).await.unwrap();
            assert_eq!(seen, expected);
            assert_eq!(collect(all).await.unwrap(), chunks.concat());
        }
    }
}
