//! Randomness that nobody can guess, from the library that has to have it anyway.

use crate::error::{Error, Result, Stage};

/// So many random bytes.
///
/// # Errors
/// `internal` if the system has none.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::internal(Stage::Plan, "the system gives no random bytes"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_another_one_each_time() {
        assert_ne!(random::<16>().unwrap(), random::<16>().unwrap());
    }
}
