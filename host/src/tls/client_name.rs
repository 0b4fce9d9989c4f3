//! Whether a client's certificate has a name that is wanted: a common name, a DNS name or a URI.

use webpki::EndEntityCert;

/// id-at-commonName, 2.5.4.3 (RFC 5280 appendix A.1), as DER has it.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// DER's tags (X.690 §8) of what a name is made of: RDNSequence and AttributeTypeAndValue, RelativeDistinguishedName, type.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// The strings that are bytes of ASCII or UTF-8: UTF8String, PrintableString, IA5String. Others are nobody's name.
const STRINGS: [u8; 3] = [0x0c, 0x13, 0x16];

/// Whether the certificate has one of `wanted`, letter by letter but for the case of DNS names. A `*` stands for itself.
pub(super) fn has_one_of(certificate: &EndEntityCert<'_>, wanted: &[String]) -> bool {
    let common = common_names(certificate.subject());
    wanted.iter().any(|wanted| {
        common.contains(&wanted.as_bytes())
            || certificate.valid_dns_names().any(|name| name.eq_ignore_ascii_case(wanted))
            || certificate.valid_uri_names().any(|name| name == wanted)
    })
}

/// The common names of a subject, whose DER is without the head of its outermost sequence. Of what is malformed nothing counts.
fn common_names(subject: &[u8]) -> Vec<&[u8]> {
    let mut names = Vec::new();
    let mut rest = subject;
    while !rest.is_empty() {
        let Some((relative, behind)) = element(rest, SET) else { return Vec::new() };
        rest = behind;
        let mut attributes = relative;
        while !attributes.is_empty() {
            let Some((attribute, behind)) = element(attributes, SEQUENCE) else { return Vec::new() };
            attributes = behind;
            let Some((kind, value)) = element(attribute, OBJECT_IDENTIFIER) else { return Vec::new() };
            let text = STRINGS.iter().find_map(|tag| element(value, *tag)).filter(|(_, behind)| behind.is_empty());
            if let (COMMON_NAME, Some((text, _))) = (kind, text) {
                names.push(text);
            }
        }
    }
    names
}

/// The content of the element that begins here, if it has that tag, and what is behind it. Lengths of up to two bytes: names are short.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => rest.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    if *found != tag { None } else { rest.split_at_checked(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        [&[tag, length][..], content].concat()
    }

    fn attribute(kind: &[u8], tag: u8, text: &[u8]) -> Vec<u8> {
        sealed(SEQUENCE, &[sealed(OBJECT_IDENTIFIER, kind), sealed(tag, text)].concat())
    }

    #[test]
    fn common_names_are_found_among_the_other_attributes() {
        let organisation = sealed(SET, &attribute(&[0x55, 0x04, 0x0a], 0x0c, b"wanted"));
        let two = [attribute(COMMON_NAME, 0x13, b"one"), attribute(COMMON_NAME, 0x0c, b"two")].concat();
        let subject = [organisation.clone(), sealed(SET, &two)].concat();
        assert_eq!(common_names(&subject), [&b"one"[..], b"two"]);
        assert_eq!(common_names(&organisation), Vec::<&[u8]>::new());
        let wide = sealed(SET, &attribute(COMMON_NAME, 0x1e, b"\0o\0n\0e"));
        assert_eq!(common_names(&wide), Vec::<&[u8]>::new(), "a BMPString");
    }

    #[test]
    fn of_what_is_malformed_nothing_counts() {
        let good = sealed(SET, &attribute(COMMON_NAME, 0x0c, b"one"));
        for end in 1..good.len() {
            assert_eq!(common_names(&good[..end]), Vec::<&[u8]>::new(), "{end}");
        }
        assert_eq!(common_names(&[good.clone(), vec![0]].concat()), Vec::<&[u8]>::new());
        let trailing =
            sealed(SEQUENCE, &[sealed(OBJECT_IDENTIFIER, COMMON_NAME), sealed(0x0c, b"one"), vec![5, 0]].concat());
        assert_eq!(common_names(&sealed(SET, &trailing)), Vec::<&[u8]>::new());
        assert_eq!(common_names(&[0x31, 0x84, 0xff, 0xff, 0xff, 0xff]), Vec::<&[u8]>::new());
    }
}
