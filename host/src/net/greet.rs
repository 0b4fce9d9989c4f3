//! Connections for their own sake: what a peer settles on, and what it says to bytes that are no request.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{Connection, Net};
use crate::error::{Error, Result};
use crate::policy::{Origin, Side};

/// How much is read at once.
const READ: usize = 4096;

impl Net {
    /// Opens a connection to `origin` as a request would, and closes it.
    ///
    /// # Errors
    /// As for a request that gets no connection.
    pub async fn greet(&self, side: Side, origin: &Origin) -> Result<Connection> {
        let client = self.client(side, vec![origin.clone()]);
        drop(client.dialer.dial(origin).await?);
        let opened = self.connections().all().into_iter().rev().find(|connection| connection.origin == *origin);
        opened.ok_or_else(|| Error::internal(client.dialer.stage, "a connection that is not on record"))
    }

    /// Sends `bytes` to `origin` as they are, over TCP or the proxy that leads there, under the egress policy like everything, and gives what comes back, as
    /// soon as `enough` says so, the peer ends, or there are `most` bytes.
    ///
    /// # Errors
    /// As for a request that gets no connection; `source-unreachable` or `registry-unreachable` if it breaks, or if nothing
    /// comes within the policy's `limits.connect`.
    pub async fn exchange(
        &self,
        side: Side,
        origin: &Origin,
        bytes: &[u8],
        most: usize,
        enough: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>> {
        let dialer = self.client(side, vec![origin.clone()]).dialer;
        dialer.check(origin)?;
        let mut io = dialer.way(origin).await?;
        let talk = async {
            io.write_all(bytes).await?;
            let (mut answer, mut part) = (Vec::new(), [0; READ]);
            while answer.len() < most && !enough(&answer) {
                let count = io.read(&mut part).await?;
                if count == 0 {
                    break;
                }
                answer.extend_from_slice(part.get(..count).unwrap_or_default());
            }
            Ok(answer)
        };
        let answered = timeout(dialer.limit(), talk).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        answered.map_err(|why| dialer.unreachable(origin, "broke off", why))
    }
}
