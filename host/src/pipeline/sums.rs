//! Checksum files, as `sha256sum` and its kin (GNU) and `sha256 -r`'s opposite (BSD, `sha256sum --tag`) write them.
//!
//! ```text
//! HEX  name            GNU; the length names the algorithm
//! HEX *name            the same, read in binary mode
//! ALGO (name) = HEX    BSD; OpenSSL leaves out the spaces
//! \HEX  na\nme         a leading backslash: the name has \\, \n and \r in it
//! ```
//!
//! Empty lines and lines that begin with `#` say nothing. A clear-signed document (RFC 9580 §7) is read like the text in
//! it; its signature is not verified. Any other line is an error: what is no checksum file is not searched for one.

use crate::stream::{Algorithm, Sum};

/// What a checksum file says about one name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The checksum.
    pub(super) sum: Sum,
    /// The line, counted from 1.
    pub(super) line: usize,
}

/// Why a checksum file says nothing usable about a name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("line {line} is malformed: {why}")]
    Malformed { line: usize, why: String },
    #[error("{}", absent(*.entries))]
    Absent { entries: usize },
    #[error("lines {} are all for this name, expected one", listed(.lines))]
    Several { lines: Vec<usize> },
    #[error("line {line} has {what}, which is not one of md5, sha1, sha256, sha512, streebog256 and streebog512")]
    Unsupported { line: usize, what: String },
}

/// The names of algorithms in BSD lines, lower-case, besides our own; of those GNU and BSD tools, OpenSSL and RHash write.
const TAGS: [(&str, Algorithm); 8] = [
    ("sha-1", Algorithm::Sha1),
    ("sha2-256", Algorithm::Sha256),
    ("sha-256", Algorithm::Sha256),
    ("sha2-512", Algorithm::Sha512),
    ("sha-512", Algorithm::Sha512),
    ("gost12-256", Algorithm::Streebog256),
    ("gost12-512", Algorithm::Streebog512),
    ("streebog-256", Algorithm::Streebog256),
];
/// Digits of checksums that GNU tools write and we do not compute: SHA-224 and SHA-384.
const OTHER_DIGITS: [usize; 2] = [56, 96];
/// The longest line that is shown.
const SHOWN: usize = 60;

/// The one entry for `name`; `./name` is the same.
pub(super) fn find(document: &[u8], name: &[u8]) -> Result<Found, Unusable> {
    let mut entries = 0_usize;
    let mut found: Vec<(usize, Entry)> = Vec::new();
    for (line, text) in lines(document) {
        let entry = entry(text).map_err(|why| Unusable::Malformed { line, why })?;
        entries += 1;
        if entry.name.strip_prefix(b"./").unwrap_or(&entry.name) == name {
            found.push((line, entry));
        }
    }
    let lines = found.iter().map(|(line, _)| *line).collect();
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(Unusable::Absent { entries }),
        (Some(_), false) => Err(Unusable::Several { lines }),
        (Some((line, entry)), true) => match entry.sum {
            Ok(sum) => Ok(Found { sum, line }),
            Err(what) => Err(Unusable::Unsupported { line, what }),
        },
    }
}

/// One line that is an entry.
struct Entry {
    name: Vec<u8>,
    /// Else what it has instead of a checksum we can compute.
    sum: Result<Sum, String>,
}

/// The lines that must be entries, with their numbers.
fn lines(document: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let document = document.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(document);
    let mut armor = Armor::Outside;
    let numbered = document.split(|byte| *byte == b'\n').zip(1..);
    numbered.filter_map(move |(line, number)| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = armor.text(line)?;
        (!text.is_empty() && !text.starts_with(b"#")).then_some((number, text))
    })
}

/// Where in a clear-signed document (RFC 9580 §7) a line is.
enum Armor {
    Outside,
    Headers,
    Text,
    Signature,
}

impl Armor {
    /// The text of a line; none if the line belongs to the armor.
    fn text<'a>(&mut self, line: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Outside if line == b"-----BEGIN PGP SIGNED MESSAGE-----" => *self = Self::Headers,
            Self::Headers if line.is_empty() => *self = Self::Text,
            Self::Text if line == b"-----BEGIN PGP SIGNATURE-----" => *self = Self::Signature,
            Self::Signature if line == b"-----END PGP SIGNATURE-----" => *self = Self::Outside,
            Self::Headers | Self::Signature => {}
            // Lines that begin with a dash are escaped.
            Self::Text => return Some(line.strip_prefix(b"- ").unwrap_or(line)),
            Self::Outside => return Some(line),
        }
        None
    }
}

fn entry(line: &[u8]) -> Result<Entry, String> {
    let (escaped, rest) = match line.strip_prefix(b"\\") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (name, sum) = match gnu(rest) {
        Some((hex, name)) => (name, sum_by_length(hex)?),
        None => match bsd(rest) {
            Some((tag, name, hex)) => (name, sum_by_tag(tag, hex)?),
            None => return Err(format!("`{}` is neither `HEX  name` nor `ALGO (name) = HEX`", shown(line))),
        },
    };
    let name = if escaped { unescaped(name)? } else { name.to_vec() };
    if name.is_empty() { Err("there is no name".to_owned()) } else { Ok(Entry { name, sum }) }
}

/// `HEX  name` or `HEX *name`.
fn gnu(line: &[u8]) -> Option<(&str, &[u8])> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (hex, rest) = line.split_at_checked(digits)?;
    let name = rest.strip_prefix(b"  ").or_else(|| rest.strip_prefix(b" *"))?;
    Some((str::from_utf8(hex).ok().filter(|hex| !hex.is_empty())?, name))
}

/// `ALGO (name) = HEX`, with or without the spaces. The name may have anything in it, the last `)` ends it.
fn bsd(line: &[u8]) -> Option<(&str, &[u8], &str)> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')').filter(|close| *close > open)?;
    let tag = line.get(..open)?;
    let tag = tag.strip_suffix(b" ").unwrap_or(tag);
    let name = line.get(open + 1..close)?;
    let rest = line.get(close + 1..)?;
    let hex = rest.strip_prefix(b" ").unwrap_or(rest).strip_prefix(b"=")?;
    let hex = hex.strip_prefix(b" ").unwrap_or(hex);
    let is_tag = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'_');
    if tag.is_empty() || hex.is_empty() || !tag.iter().all(is_tag) || !hex.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    Some((str::from_utf8(tag).ok()?, name, str::from_utf8(hex).ok()?))
}

/// The algorithm that GNU tools have for that many digits. Streebog has the same lengths and is never guessed.
fn sum_by_length(hex: &str) -> Result<Result<Sum, String>, String> {
    let algorithm = match hex.len() {
        32 => Algorithm::Md5,
        40 => Algorithm::Sha1,
        64 => Algorithm::Sha256,
        128 => Algorithm::Sha512,
        other if OTHER_DIGITS.contains(&other) => return Ok(Err(format!("a checksum of {other} digits"))),
        other => return Err(format!("no checksum has {other} hexadecimal digits")),
    };
    Sum::new(algorithm, hex).map(Ok).map_err(|why| why.to_string())
}

fn sum_by_tag(tag: &str, hex: &str) -> Result<Result<Sum, String>, String> {
    let lower = tag.to_ascii_lowercase();
    let other = TAGS.iter().find(|(name, _)| *name == lower).map(|(_, algorithm)| *algorithm);
    match Algorithm::named(&lower).or(other) {
        Some(algorithm) => Sum::new(algorithm, hex).map(Ok).map_err(|why| why.to_string()),
        None => Ok(Err(format!("a checksum of {tag}"))),
    }
}

fn unescaped(name: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match (byte, byte == &b'\\') {
            (byte, false) => *byte,
            (_, true) => match bytes.next() {
                Some(b'\\') => b'\\',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                _ => return Err("a backslash that escapes nothing".to_owned()),
            },
        });
    }
    Ok(plain)
}

fn shown(line: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).collect();
    let cut = text.floor_char_boundary(SHOWN);
    match text.get(..cut) {
        Some(start) if start.len() < text.len() => format!("{start}…"),
        _ => text,
    }
}

fn absent(entries: usize) -> String {
    match entries {
        0 => "it has no entries".to_owned(),
        1 => "its one entry is for another name".to_owned(),
        _ => format!("none of its {entries} entries is for this name"),
    }
}

fn listed(lines: &[usize]) -> String {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    lines.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = "5d41402abc4b2a76b9719d911017c592";
    const SHA1: &str = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";
    const SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn sum(document: &str, name: &str) -> String {
        find(document.as_bytes(), name.as_bytes()).map(|found| format!("{} {}", found.line, found.sum)).unwrap()
    }

    fn unusable(document: &str, name: &str) -> String {
        find(document.as_bytes(), name.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn gnu_lines_name_the_algorithm_by_length() {
        let sha512 = "ab".repeat(64);
        let document = format!("{MD5}  a\n{SHA1} *b\r\n\n# a comment\n{SHA256}  ./c d\n{sha512}  d) = 0\n");
        assert_eq!(sum(&document, "a"), format!("1 md5:{MD5}"));
        assert_eq!(sum(&document, "b"), format!("2 sha1:{SHA1}"));
        assert_eq!(sum(&document, "c d"), format!("5 sha256:{SHA256}"));
        assert_eq!(sum(&document, "d) = 0"), format!("6 sha512:{sha512}"));
        assert_eq!(sum(&format!("{}  a", MD5.to_uppercase()), "a"), format!("1 md5:{MD5}"));
    }

    #[test]
    fn bsd_lines_name_it_themselves() {
        let streebog = SHA256;
        let document = format!(
            "MD5 (a) = {MD5}\nSHA1(b)= {SHA1}\nSHA2-256(c (1).raw)= {SHA256}\nGOST12-256 (d) = {streebog}\nSHA384 (e) = 00\n"
        );
        assert_eq!(sum(&document, "a"), format!("1 md5:{MD5}"));
        assert_eq!(sum(&document, "b"), format!("2 sha1:{SHA1}"));
        assert_eq!(sum(&document, "c (1).raw"), format!("3 sha256:{SHA256}"));
        assert_eq!(sum(&document, "d"), format!("4 streebog256:{streebog}"));
        assert!(unusable(&document, "e").contains("line 5 has a checksum of SHA384"));
    }

    #[test]
    fn names_that_tools_escape_are_read_as_they_are() {
        let document = format!("\\{MD5}  a\\nb\\\\c\n\\MD5 (x\\ry) = {MD5}\n{MD5}  n\\n\n");
        assert_eq!(sum(&document, "a\nb\\c"), format!("1 md5:{MD5}"));
        assert_eq!(sum(&document, "x\ry"), format!("2 md5:{MD5}"));
        assert_eq!(sum(&document, "n\\n"), format!("3 md5:{MD5}"));
        assert!(unusable(&format!("\\{MD5}  a\\t"), "a").contains("line 1 is malformed: a backslash"));
    }

    #[test]
    fn exactly_one_entry_must_be_for_the_name() {
        let document = format!("{MD5}  a\n{SHA1}  a\n{SHA256}  b/a\n");
        assert_eq!(unusable(&document, "a"), "lines 1, 2 are all for this name, expected one");
        assert_eq!(unusable(&document, "c"), "none of its 3 entries is for this name");
        assert_eq!(unusable("", "a"), "it has no entries");
        assert!(unusable(&format!("{}  a", "0".repeat(56)), "a").contains("a checksum of 56 digits"));
    }

    #[test]
    fn anything_else_is_malformed_and_named_by_its_line() {
        for wrong in [
            "<html>",
            MD5,
            &format!("{MD5} a"),
            &format!("{MD5}\ta"),
            &format!("{MD5}  "),
            "0  a",
            "MD5 (a) = 0",
            "MD5 (a) 00",
            "MD5 a) = 00",
            "MD5 () = 5d41402abc4b2a76b9719d911017c592",
            "(a) = 00",
            "-----BEGIN PGP SIGNATURE-----",
        ] {
            let message = unusable(&format!("{SHA256}  b\n\n{wrong}\n"), "b");
            assert!(message.starts_with("line 3 is malformed: "), "{wrong}: {message}");
        }
        let long = unusable(&"ü".repeat(1000), "a");
        assert!(long.len() < 200 && long.contains('…'), "{long}");
    }

    #[test]
    fn a_clear_signed_document_is_read_like_its_text() {
        let document = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# Cloud.qcow2: 5 bytes\nSHA256 (Cloud.qcow2) = {SHA256}\n\
             - -----\n-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCAAdFiEE\n=abcd\n-----END PGP SIGNATURE-----\n"
        );
        assert!(unusable(&document, "Cloud.qcow2").starts_with("line 6 is malformed: `-----`"));
        let document = document.replace("- -----\n", "");
        assert_eq!(sum(&document, "Cloud.qcow2"), format!("5 sha256:{SHA256}"));
    }

    /// Whatever is found must stand in the document, whatever happened to it.
    #[test]
    fn mutations_are_read_or_refused_but_never_misread() {
        let document = format!(
            "# x\n{MD5}  a\n{SHA1} *b\n\\{SHA256}  a\\nb\nSHA256 (c) = {SHA256}\n\
             -----BEGIN PGP SIGNED MESSAGE-----\nHash: x\n\n{MD5}  d\n-----BEGIN PGP SIGNATURE-----\nx\n-----END PGP SIGNATURE-----\n"
        );
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let mut next = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        };
        let interesting = b"\n\r\\ *()=#-0aF\0\xFF";
        let (mut found, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let mut mutated = document.clone().into_bytes();
            for _ in 0..=next(4) {
                let at = next(mutated.len());
                match next(4) {
                    0 => mutated[at] = interesting[next(interesting.len())],
                    1 => mutated.insert(at, interesting[next(interesting.len())]),
                    2 => drop(mutated.remove(at)),
                    _ => mutated.truncate(at.max(8)),
                }
            }
            for name in [&b"a"[..], b"b", b"a\nb", b"c", b"d"] {
                match find(&mutated, name) {
                    Ok(Found { sum, line }) => {
                        found += 1;
                        let text = String::from_utf8_lossy(&mutated).into_owned();
                        let text = text.split('\n').nth(line - 1).unwrap().to_ascii_lowercase();
                        let (_, hex) =
                            sum.to_string().split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
                        assert!(text.contains(&hex), "{text} has no {hex}");
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(
            found > 1000 && refused > 1000,
            "{found} found, {refused} refused: the mutations are too mild or too wild"
        );
    }
}
