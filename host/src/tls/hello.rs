//! A ClientHello by hand (RFC 8446 §4.1.2) that offers every registered suite, so that a peer shows what it would pick, and
//! the peer's answer. No session comes of it: there are no keys in it, and nothing is ever sent behind it.

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{AlertDescription, CipherSuite, NamedGroup};

use crate::error::{Error, Result, Stage};
use crate::policy::Suite;

/// The most bytes of an answer that are looked at: a ServerHello fits one record.
pub const MAX_ANSWER: usize = 32 * 1024;

/// What a peer picks from everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picked {
    /// By IANA names. The group is known for TLS 1.3 alone.
    Session {
        /// `TLSv1.3` and so on.
        version: String,
        /// The cipher suite.
        suite: String,
        /// The key exchange group.
        group: Option<String>,
    },
    /// Nothing: the alert by which it says so.
    Alert(String),
    /// It does not speak TLS.
    Nonsense,
}

/// IANA's registry of cipher suites as ranges of codes, first and last, what is not assigned left out.
const REGISTERED: [(u16, u16); 13] = [
    (0x0001, 0x001B),
    (0x001E, 0x0046),
    (0x0067, 0x006D),
    (0x0080, 0x0083),
    (0x0084, 0x00C7),
    (0x1302, 0x1307),
    (0xC001, 0xC0B7),
    (0xC100, 0xC106),
    (0xCCA8, 0xCCAE),
    (0xD001, 0xD003),
    (0xD005, 0xD005),
    (0x1301, 0x1301),
    // Not registered, and what GOST servers spoke before RFC 9189.
    (0xFF85, 0xFF85),
];

/// What the TLS library has no names for.
const NAMES: [(u16, &str); 12] = [
    (0x0080, "TLS_GOSTR341094_WITH_28147_CNT_IMIT"),
    (0x0081, "TLS_GOSTR341001_WITH_28147_CNT_IMIT"),
    (0x00C6, "TLS_SM4_GCM_SM3"),
    (0x00C7, "TLS_SM4_CCM_SM3"),
    (0xC100, "TLS_GOSTR341112_256_WITH_KUZNYECHIK_CTR_OMAC"),
    (0xC101, "TLS_GOSTR341112_256_WITH_MAGMA_CTR_OMAC"),
    (0xC102, "TLS_GOSTR341112_256_WITH_28147_CNT_IMIT"),
    (0xC103, "TLS_GOSTR341112_256_WITH_KUZNYECHIK_MGM_L"),
    (0xC104, "TLS_GOSTR341112_256_WITH_MAGMA_MGM_L"),
    (0xC105, "TLS_GOSTR341112_256_WITH_KUZNYECHIK_MGM_S"),
    (0xC106, "TLS_GOSTR341112_256_WITH_MAGMA_MGM_S"),
    (0xFF85, "TLS_GOSTR341112_256_WITH_28147_CNT_IMIT"),
];

/// Groups: elliptic curves, GOST's, finite fields, the ML-KEM hybrids.
const GROUPS: [u16; 21] = [
    0x11EC, 0x11EB, 0x11ED, 0x001D, 0x0017, 0x0018, 0x0019, 0x001E, 0x001F, 0x0020, 0x0021, 0x0022, 0x0023, 0x0024,
    0x0025, 0x0026, 0x0027, 0x0028, 0x0100, 0x0101, 0x0102,
];

/// Signatures: ECDSA, EdDSA, RSA, GOST, and SHA-1 for servers that have nothing else.
const SIGNATURES: [u16; 27] = [
    0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0804, 0x0805, 0x0806, 0x0809, 0x080A, 0x080B, 0x0401, 0x0501, 0x0601,
    0x0709, 0x070A, 0x070B, 0x070C, 0x070D, 0x070E, 0x070F, 0x0840, 0x0841, 0xEEEE, 0xEFEF, 0x0203, 0x0201,
];

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const SERVER_HELLO: u8 = 2;

/// The record to send to `name`, a host that is no address. What every policy allows is offered first: a peer that picks
/// something else does so by a preference of its own.
///
/// # Errors
/// `internal` if there is no randomness.
pub fn hello(name: Option<&str>) -> Result<Vec<u8>> {
    let mut random = [0; 64];
    default_provider()
        .secure_random
        .fill(&mut random)
        .map_err(|_| Error::internal(Stage::Plan, "there is no randomness"))?;
    let mut body = vec![3, 3];
    body.extend_from_slice(random.first_chunk::<32>().unwrap_or(&[0; 32]));
    body.extend(sized(1, random.last_chunk::<32>().unwrap_or(&[0; 32]).to_vec()));
    body.extend(sized(2, listed(suites())));
    body.extend(sized(1, vec![0]));
    let mut extensions = Vec::new();
    let mut add = |kind: u16, content: Vec<u8>| {
        extensions.extend(kind.to_be_bytes());
        extensions.extend(sized(2, content));
    };
    if let Some(name) = name {
        let mut entry = vec![0];
        entry.extend(sized(2, name.as_bytes().to_vec()));
        add(0, sized(2, entry));
    }
    add(10, sized(2, listed(GROUPS)));
    add(11, vec![1, 0]);
    add(13, sized(2, listed(SIGNATURES)));
    add(16, sized(2, sized(1, b"http/1.1".to_vec())));
    add(23, Vec::new());
    add(43, sized(1, listed([0x0304, 0x0303, 0x0302, 0x0301])));
    add(45, vec![1, 1]);
    // No share: a peer of TLS 1.3 names the group it wants instead of going on (§4.2.8).
    add(51, sized(2, Vec::new()));
    add(0xFF01, vec![0]);
    body.extend(sized(2, extensions));
    let mut message = vec![1];
    message.extend(sized(3, body));
    let mut record = vec![HANDSHAKE, 3, 1];
    record.extend(sized(2, message));
    Ok(record)
}

/// What an answer so far says; none if more of it is needed.
#[must_use]
pub fn picked(answer: &[u8]) -> Option<Picked> {
    let (mut rest, mut message) = (answer, Vec::new());
    loop {
        let Some((head, behind)) = rest.split_first_chunk::<5>() else {
            let begins = rest.first().is_none_or(|kind| matches!(*kind, HANDSHAKE | ALERT));
            return if begins && answer.len() < MAX_ANSWER { None } else { Some(Picked::Nonsense) };
        };
        let [kind, major, _, high, low] = *head;
        if !matches!(kind, HANDSHAKE | ALERT) || major != 3 {
            return Some(Picked::Nonsense);
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some((content, next)) = behind.split_at_checked(length) else {
            return if answer.len() < MAX_ANSWER { None } else { Some(Picked::Nonsense) };
        };
        if kind == ALERT {
            let alert = content.get(1).map(|code| format!("{:?}", AlertDescription::from(*code)));
            return Some(alert.map_or(Picked::Nonsense, Picked::Alert));
        }
        message.extend_from_slice(content);
        // A message may be spread over records.
        if let Some((&[kind, a, b, c], body)) = message.split_first_chunk::<4>() {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if kind != SERVER_HELLO || length > MAX_ANSWER {
                return Some(Picked::Nonsense);
            }
            if let Some(body) = body.get(..length) {
                return Some(server_hello(body).unwrap_or(Picked::Nonsense));
            }
        }
        rest = next;
    }
}

/// RFC 8446 §4.1.3; a HelloRetryRequest has the same form.
fn server_hello(body: &[u8]) -> Option<Picked> {
    let mut version = number(body.get(..2)?)?;
    let session = usize::from(*body.get(34)?);
    let rest = body.get(35 + session..)?;
    let suite = number(rest.get(..2)?)?;
    let mut group = None;
    let mut extensions = rest.get(5..).unwrap_or_default();
    while let Some((&[a, b, c, d], behind)) = extensions.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([c, d]));
        let (content, next) = behind.split_at_checked(length)?;
        match u16::from_be_bytes([a, b]) {
            43 => version = number(content.get(..2)?)?,
            51 => group = content.get(..2).and_then(number),
            _ => {}
        }
        extensions = next;
    }
    let group = group.map(|code| format!("{:?}", NamedGroup::from(code)));
    Some(Picked::Session { version: version_name(version), suite: suite_name(suite), group })
}

fn suites() -> impl Iterator<Item = u16> {
    let first = Suite::AES_GCM.iter().map(|suite| code(*suite));
    let all = REGISTERED.iter().flat_map(|(first, last)| *first..=*last);
    first.chain(all.filter(|code| Suite::AES_GCM.iter().all(|suite| self::code(*suite) != *code)))
}

const fn code(suite: Suite) -> u16 {
    match suite {
        Suite::Tls13Aes128GcmSha256 => 0x1301,
        Suite::Tls13Aes256GcmSha384 => 0x1302,
        Suite::EcdheEcdsaAes128GcmSha256 => 0xC02B,
        Suite::EcdheEcdsaAes256GcmSha384 => 0xC02C,
        Suite::EcdheRsaAes128GcmSha256 => 0xC02F,
        Suite::EcdheRsaAes256GcmSha384 => 0xC030,
        Suite::Tls13Chacha20Poly1305Sha256 => 0x1303,
        Suite::EcdheRsaChacha20Poly1305Sha256 => 0xCCA8,
        Suite::EcdheEcdsaChacha20Poly1305Sha256 => 0xCCA9,
    }
}

fn suite_name(code: u16) -> String {
    let named = NAMES.iter().find(|(known, _)| *known == code).map(|(_, name)| (*name).to_owned());
    let named = named.or_else(|| CipherSuite::from(code).as_str().map(|name| name.replace("TLS13_", "TLS_")));
    named.unwrap_or_else(|| format!("0x{code:04X}"))
}

fn version_name(code: u16) -> String {
    match code {
        0x0304 => "TLSv1.3".to_owned(),
        0x0303 => "TLSv1.2".to_owned(),
        0x0302 => "TLSv1.1".to_owned(),
        0x0301 => "TLSv1.0".to_owned(),
        0x0300 => "SSLv3".to_owned(),
        other => format!("0x{other:04X}"),
    }
}

/// `content` behind its length in that many bytes, which it fits.
fn sized(bytes: usize, content: Vec<u8>) -> Vec<u8> {
    let length = (content.len() as u64).to_be_bytes();
    let mut all = length.get(8 - bytes..).unwrap_or_default().to_vec();
    all.extend(content);
    all
}

fn listed(codes: impl IntoIterator<Item = u16>) -> Vec<u8> {
    codes.into_iter().flat_map(u16::to_be_bytes).collect()
}

fn number(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ServerHello in records of `size` bytes.
    fn answer(version: [u8; 2], suite: [u8; 2], extensions: &[u8], size: usize) -> Vec<u8> {
        let mut body = version.to_vec();
        body.extend([7; 32]);
        body.extend([0, suite[0], suite[1], 0]);
        body.extend(sized(2, extensions.to_vec()));
        let mut message = vec![SERVER_HELLO];
        message.extend(sized(3, body));
        let record = |part: &[u8]| [vec![HANDSHAKE, 3, 3], sized(2, part.to_vec())].concat();
        message.chunks(size).flat_map(record).collect()
    }

    #[test]
    fn every_suite_is_offered_once_and_what_policies_allow_first() {
        let all: Vec<u16> = suites().collect();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), all.len());
        assert!(all.len() > 300 && all.contains(&0xC102) && all.contains(&0x1303), "{}", all.len());
        let first: Vec<String> = all.iter().take(Suite::AES_GCM.len()).map(|code| suite_name(*code)).collect();
        assert_eq!(first, Suite::AES_GCM.iter().map(|suite| suite.as_str()).collect::<Vec<_>>());
        assert!(Suite::ALL.iter().all(|suite| suite_name(code(*suite)) == suite.as_str()));
        let (one, other) = (hello(Some("r.example")).unwrap(), hello(None).unwrap());
        assert!(one.windows(9).any(|part| part == b"r.example") && one.len() == other.len() + 18);
        assert_eq!(usize::from(u16::from_be_bytes([one[3], one[4]])), one.len() - 5);
        assert_ne!(one[11..43], other[11..43], "randomness");
    }

    #[test]
    fn what_a_peer_picks_is_read_however_its_records_are_cut() {
        // supported_versions and key_share as in a HelloRetryRequest.
        let thirteen = [0, 43, 0, 2, 3, 4, 0, 51, 0, 2, 0, 0x17];
        for size in [1, 7, 1000] {
            let picked_13 = picked(&answer([3, 3], [0x13, 3], &thirteen, size));
            let expected = Picked::Session {
                version: "TLSv1.3".to_owned(),
                suite: "TLS_CHACHA20_POLY1305_SHA256".to_owned(),
                group: Some("secp256r1".to_owned()),
            };
            assert_eq!(picked_13, Some(expected));
        }
        let gost = picked(&answer([3, 3], [0xC1, 2], &[], 1000));
        let Some(Picked::Session { version, suite, group: None }) = gost else { panic!("{gost:?}") };
        assert_eq!((&*version, &*suite), ("TLSv1.2", "TLS_GOSTR341112_256_WITH_28147_CNT_IMIT"));
    }

    #[test]
    fn an_answer_that_is_not_whole_is_waited_for_and_none_panics() {
        let whole = answer([3, 3], [0x13, 1], &[0, 43, 0, 2, 3, 4], 40);
        for length in 0..whole.len() {
            assert_eq!(picked(&whole[..length]), None, "{length}");
            for flipped in 0..length {
                let mut other = whole.clone();
                other[flipped] ^= 0xFF;
                let _ = picked(&other);
            }
        }
        assert_eq!(picked(&[ALERT, 3, 3, 0, 2, 2, 40]), Some(Picked::Alert("HandshakeFailure".to_owned())));
        assert_eq!(picked(b"HTTP/1.1 400 Bad Request\r\n"), Some(Picked::Nonsense));
        assert_eq!(picked(&[HANDSHAKE; MAX_ANSWER]), Some(Picked::Nonsense));
    }
}
