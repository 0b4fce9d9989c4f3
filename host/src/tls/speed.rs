//! How fast this machine is at what the policy allows.

use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::policy::Suite;

/// Bytes of a full TLS record (RFC 8446 §5.1).
const RECORD: usize = 16 * 1024;
/// Records between two looks at the clock.
const AT_ONCE: u32 = 16;

/// Bytes per second that one CPU seals in records of this suite, measured for about `within`. None if the cipher does not
/// work here.
#[must_use]
pub fn sealed_per_second(suite: Suite, within: Duration) -> Option<f64> {
    let algorithm = algorithm(suite);
    // Nothing of this is ever sent: key and nonce need not be secret or new.
    let key = LessSafeKey::new(UnboundKey::new(algorithm, [7; 32].get(..algorithm.key_len())?).ok()?);
    let mut record = vec![0; RECORD];
    let (began, mut records) = (Instant::now(), 0_u32);
    loop {
        for _ in 0..AT_ONCE {
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            let _tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut record).ok()?;
        }
        records = records.saturating_add(AT_ONCE);
        let took = began.elapsed();
        if took >= within {
            return Some(f64::from(records) * RECORD as f64 / took.as_secs_f64());
        }
    }
}

const fn algorithm(suite: Suite) -> &'static Algorithm {
    match suite {
        Suite::Tls13Aes128GcmSha256 | Suite::EcdheEcdsaAes128GcmSha256 | Suite::EcdheRsaAes128GcmSha256 => &AES_128_GCM,
        Suite::Tls13Aes256GcmSha384 | Suite::EcdheEcdsaAes256GcmSha384 | Suite::EcdheRsaAes256GcmSha384 => &AES_256_GCM,
        Suite::Tls13Chacha20Poly1305Sha256
        | Suite::EcdheEcdsaChacha20Poly1305Sha256
        | Suite::EcdheRsaChacha20Poly1305Sha256 => &CHACHA20_POLY1305,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_can_be_measured() {
        for suite in Suite::ALL {
            assert!(sealed_per_second(*suite, Duration::from_millis(1)).is_some_and(|rate| rate > 0.0), "{suite:?}");
        }
    }
}
