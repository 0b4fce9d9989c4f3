//! What a probe is shown of what a filter puts out, as far as it asks, and the rest of it, as far as anything is looked at.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::pin;

use crate::error::{Code, Error, Result};
use crate::stages::Verdict;
use crate::stream::{Cut, Flow, Window};

/// What is kept of what a probe was shown, in case it is a wrapper again. One that is, is told from its first bytes.
pub(super) const MAX_KEPT: usize = 4 << 20;

/// What a probe was shown.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) chunks: VecDeque<Bytes>,
    bytes: usize,
    pub(super) overflowed: bool,
}

impl Kept {
    fn push(&mut self, chunk: Bytes) {
        self.bytes = self.bytes.saturating_add(chunk.len());
        self.overflowed |= self.bytes > MAX_KEPT;
        match self.overflowed {
            true => self.chunks.clear(),
            false => self.chunks.push_back(chunk),
        }
    }
}

/// Lets `flow` come as far as `detect` asks, and says what it has found, what came, and what is still to come.
pub(super) async fn shown(
    mut flow: Flow,
    detect: impl Future<Output = Result<Verdict>>,
    window: &Window,
    cuts: &[Cut],
) -> (Result<Verdict>, Kept, Flow) {
    let mut kept = Kept::default();
    let verdict = {
        let flowing = async {
            loop {
                match flow.next().await {
                    Ok(Some(chunk)) => kept.push(chunk),
                    Ok(None) => return Ok(()),
                    Err(error) if is_cut(&error, cuts) => {
                        window.cut_off();
                        std::future::pending::<()>().await;
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        pin!(flowing, detect);
        tokio::select! {
            biased;
            verdict = &mut detect => verdict,
            flowed = &mut flowing => match flowed {
                Ok(()) => detect.await,
                // What the probe makes of it follows from it.
                Err(error) => Err(error),
            },
        }
    };
    (verdict, kept, flow)
}

/// Lets what a probe has its verdict of flow to its end: a second disk, bytes that another reader takes for the archive, or damage
/// may stand behind what it asked for. Says whether the end is among what is looked at.
pub(super) async fn rest(mut flow: Flow, cuts: &[Cut]) -> Result<bool> {
    // Of what was cut around it, something was not looked at, however this one ends.
    while !cuts.iter().any(Cut::is_reached) {
        match flow.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(true),
            Err(error) if is_cut(&error, cuts) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether a flow failed only because no more of it is looked at.
pub(super) fn is_cut(error: &Error, cuts: &[Cut]) -> bool {
    error.code() == Code::Internal && cuts.iter().any(Cut::is_reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let mut kept = Kept::default();
        let chunk = Bytes::from(vec![0; MAX_KEPT / 2]);
        kept.push(chunk.clone());
        kept.push(chunk.clone());
        assert_eq!((kept.chunks.len(), kept.overflowed), (2, false));
        kept.push(chunk);
        assert_eq!((kept.chunks.len(), kept.overflowed), (0, true));
        kept.push(Bytes::from_static(b"x"));
        assert!(kept.chunks.is_empty(), "what follows is not the beginning");
    }
}
