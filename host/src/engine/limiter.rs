//! Memory summed over everything one component has: wasmtime's own limits are per memory.

use std::fmt;

use wasmtime::{ResourceLimiter, Result};

/// Resources, streams and futures one component may hold.
pub(super) const MAX_HANDLES: usize = 1000;
/// Core instances of one component; the Python guests of today need 38.
const MAX_INSTANCES: usize = 100;
/// Tables of one component.
const MAX_TABLES: usize = 100;
/// Memories of one component.
const MAX_MEMORIES: usize = 20;
/// What a table element takes.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// Counts and caps.
pub(super) struct Limiter {
    used: usize,
    most: usize,
}

/// The error of a guest that asked for more.
#[derive(Debug)]
pub(super) struct MemorySpent {
    asked: usize,
    most: usize,
}

impl Limiter {
    pub(super) const fn new(most: usize) -> Self {
        Self { used: 0, most }
    }

    fn grow(&mut self, current: usize, desired: usize) -> Result<bool> {
        let asked = self.used.saturating_add(desired.saturating_sub(current));
        if asked > self.most {
            // A typed error, not a refusal: what a guest does when it is refused memory says nothing to the user.
            return Err(wasmtime::Error::new(MemorySpent { asked, most: self.most }));
        }
        self.used = asked;
        Ok(true)
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        self.grow(current, desired)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        self.grow(current.saturating_mul(TABLE_ELEMENT_BYTES), desired.saturating_mul(TABLE_ELEMENT_BYTES))
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

impl fmt::Display for MemorySpent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it asked for {} bytes of memory in all, granted are {}", self.asked, self.most)
    }
}

impl std::error::Error for MemorySpent {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_count_together() {
        let mut limiter = Limiter::new(1000);
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.table_growing(0, 26, None).is_err());
        assert!(limiter.table_growing(0, 25, None).unwrap());
        assert!(limiter.memory_growing(400, 401, None).is_err());
    }
}
