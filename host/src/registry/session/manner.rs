//! Whether a layer travels in one request or in chunks, and in chunks of what size.

use std::time::Duration;

const MIB: u64 = 1 << 20;

/// The usual chunk, and the largest one that is held in memory.
pub(in crate::registry) const HELD_CHUNK: u64 = 16 * MIB;
/// The largest chunk of a layer that can be brought again from any offset, for a registry that wants no smaller one.
const LARGEST_CHUNK: u64 = 1024 * MIB;
/// The smallest chunk we try.
const SMALLEST_CHUNK: u64 = MIB;
/// Breaks of requests of about that age or more have a pattern; younger ones just fail.
const OLD_ENOUGH: Duration = Duration::from_secs(5);

/// How one registry takes the bytes of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manner {
    /// The size of chunks; none for the whole in one request.
    chunk: Option<u64>,
    /// What the size would be.
    size: u64,
    /// The least the registry takes, but for the last.
    least: u64,
    /// Whether the registry takes several requests at all.
    chunks: bool,
    /// The largest chunk that we can send.
    most: u64,
    /// Whether a chunk of this size was taken.
    proven: bool,
    last_break: Option<Broken>,
}

/// Where and when a streamed request broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken {
    sent: u64,
    age: Duration,
}

impl Manner {
    /// The manner of the registry at `host`, streamed to begin with.
    #[must_use]
    pub fn of(host: &str) -> Self {
        let under = |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let (size, least, chunks) = if under("ghcr.io") {
            // More answers 416.
            (4 * MIB, SMALLEST_CHUNK, true)
        } else if under("amazonaws.com") || under("public.ecr.aws") {
            (10 * MIB, 5 * MIB, true)
        } else if under("pkg.dev") || under("gcr.io") {
            // "Does not support chunked uploads".
            (HELD_CHUNK, SMALLEST_CHUNK, false)
        } else {
            (HELD_CHUNK, SMALLEST_CHUNK, true)
        };
        Self { chunk: None, size, least, chunks, most: HELD_CHUNK, proven: false, last_break: None }
    }

    /// The same for a layer of known length that can be brought again from any offset: its chunks need not be held.
    #[must_use]
    pub(in crate::registry) const fn brought_again(mut self) -> Self {
        self.most = LARGEST_CHUNK;
        self
    }

    /// The size of the next chunk in bytes; none for all that is left in one request.
    #[must_use]
    pub const fn chunk(&self) -> Option<u64> {
        self.chunk
    }

    /// The size that chunks have, or would have; none if the registry takes none.
    #[must_use]
    pub(in crate::registry) fn size(&self) -> Option<u64> {
        self.chunks.then_some(self.size)
    }

    /// The registry wants chunks of at least so many bytes (`OCI-Chunk-Min-Length`). One that wants more than we can
    /// send gets no chunks.
    pub(in crate::registry) fn at_least(&mut self, bytes: u64) {
        if bytes > self.most {
            self.chunks = false;
            self.chunk = None;
            return;
        }
        self.least = self.least.max(bytes);
        self.size = self.size.max(bytes);
        self.chunk = self.chunk.map(|chunk| chunk.max(bytes));
    }

    /// Sends chunks from now on. Whether that is a change.
    pub(super) const fn chunked(&mut self) -> bool {
        if !self.chunks || self.chunk.is_some() {
            return false;
        }
        self.chunk = Some(self.size);
        true
    }

    /// A request was too large: chunks from now on, or smaller ones. Whether there is anything left to change.
    pub(super) fn smaller(&mut self) -> bool {
        match self.chunk {
            None => self.chunked(),
            Some(chunk) if chunk / 2 >= self.least => {
                (self.chunk, self.proven) = (Some(chunk / 2), false);
                true
            }
            Some(_) => false,
        }
    }

    /// A chunk was taken.
    pub(super) const fn took(&mut self) {
        self.proven = true;
    }

    /// A request broke off after it had sent so many bytes at that age. If that is where or when the one before broke,
    /// somebody in between bounds requests: chunks from now on, within the bound. Who closes on what is too large often resets
    /// the connection before its 413 is read: a chunk that breaks gets smaller while none of its size was taken. Whether
    /// anything is changed.
    pub(super) fn broke(&mut self, sent: u64, age: Duration) -> bool {
        if let Some(chunk) = self.chunk {
            let smaller = [chunk / 4, chunk / 2].into_iter().find(|chunk| *chunk >= self.least);
            let smaller = smaller.filter(|_| sent > 0 && !self.proven);
            self.chunk = smaller.or(self.chunk);
            return smaller.is_some();
        }
        let now = Broken { sent, age };
        let Some(before) = self.last_break.replace(now) else { return false };
        let same_place = sent >= 2 * SMALLEST_CHUNK && near(sent, before.sent, sent / 64);
        let (millis, before_millis) = (age.as_millis(), before.age.as_millis());
        let same_age = age >= OLD_ENOUGH && millis.abs_diff(before_millis) <= millis / 20;
        if same_place {
            while self.size > sent && self.size / 2 >= self.least {
                self.size /= 2;
            }
        }
        (same_place || same_age) && self.chunked()
    }
}

const fn near(one: u64, other: u64, by: u64) -> bool {
    one.abs_diff(other) <= by
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic() -> Manner {
        Manner::of("registry.example")
    }

    #[test]
    fn it_is_streamed_until_there_is_a_reason() {
        for (host, size) in [
            ("registry.example", Some(16 * MIB)),
            ("ghcr.io", Some(4 * MIB)),
            ("notghcr.io", Some(16 * MIB)),
            ("1.dkr.ecr.eu-west-1.amazonaws.com", Some(10 * MIB)),
            ("public.ecr.aws", Some(10 * MIB)),
            ("europe-docker.pkg.dev", None),
            ("eu.gcr.io", None),
        ] {
            let mut manner = Manner::of(host);
            assert_eq!(manner.chunk(), None, "{host}");
            assert_eq!(manner.chunked(), size.is_some(), "{host}");
            assert_eq!(manner.chunk(), size, "{host}");
        }
    }

    #[test]
    fn what_is_too_large_gets_smaller_within_bounds() {
        let mut manner = generic();
        let mut sizes = Vec::new();
        while manner.smaller() {
            sizes.push(manner.chunk().unwrap() / MIB);
        }
        assert_eq!(sizes, [16, 8, 4, 2, 1]);
        let mut ecr = Manner::of("public.ecr.aws");
        assert!(ecr.smaller() && ecr.smaller() && !ecr.smaller());
        assert_eq!(ecr.chunk(), Some(5 * MIB));
    }

    #[test]
    fn the_least_that_a_registry_takes_is_honoured_up_to_what_can_be_sent() {
        let mut manner = generic();
        manner.at_least(HELD_CHUNK + 1);
        assert!(!manner.smaller() && manner.chunk().is_none(), "more than is held");
        let mut manner = generic().brought_again();
        manner.at_least(20 * MIB);
        assert_eq!(manner.chunk(), None, "no reason to send chunks at all");
        assert!(manner.smaller());
        assert_eq!(manner.chunk(), Some(20 * MIB));
        assert!(!manner.smaller());
        manner.at_least(LARGEST_CHUNK);
        assert_eq!(manner.chunk(), Some(LARGEST_CHUNK));
        manner.at_least(LARGEST_CHUNK + 1);
        assert_eq!(manner.chunk(), None);
        assert!(!manner.chunked());
    }

    #[test]
    fn a_chunk_that_breaks_gets_smaller_until_one_is_taken() {
        let sizes = |host: &str| {
            let mut manner = Manner::of(host);
            manner.chunked();
            manner.broke(0, Duration::ZERO);
            let mut sizes = vec![manner.chunk().unwrap() / MIB];
            for _ in 0..4 {
                manner.broke(100, Duration::ZERO);
                sizes.push(manner.chunk().unwrap() / MIB);
            }
            sizes.dedup();
            sizes
        };
        assert_eq!(sizes("registry.example"), [16, 4, 1]);
        assert_eq!(sizes("public.ecr.aws"), [10, 5]);
        let mut manner = generic();
        manner.chunked();
        manner.took();
        manner.broke(MIB, Duration::ZERO);
        assert_eq!(manner.chunk(), Some(16 * MIB), "that size is taken: it was not the reason");
    }

    #[test]
    fn breaks_with_a_pattern_are_a_reason() {
        let seconds = Duration::from_secs_f64;
        let after = |breaks: &[(u64, f64)]| {
            let mut manner = generic();
            for (sent, age) in breaks {
                manner.broke(*sent, seconds(*age));
            }
            manner.chunk()
        };
        // zot cuts after 60 s, whatever was sent.
        assert_eq!(after(&[(500 * MIB, 60.0), (300 * MIB, 60.4)]), Some(16 * MIB));
        // A proxy with a cap of 100 MB, or of 10 MB.
        assert_eq!(after(&[(100 * MIB, 9.0), (100 * MIB + 1, 20.0)]), Some(16 * MIB));
        assert_eq!(after(&[(10 * MIB, 1.0), (10 * MIB, 1.0)]), Some(8 * MIB));
        for breaks in [
            &[(500 * MIB, 60.0)][..],
            &[(500 * MIB, 60.0), (300 * MIB, 20.0)],
            // A registry that is not there yet.
            &[(65536, 0.1), (65536, 0.1)],
            &[(0, 0.0), (0, 0.0)],
        ] {
            assert_eq!(after(breaks), None, "{breaks:?}");
        }
    }
}
