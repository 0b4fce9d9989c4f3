//! Header extensions (QEMU `docs/interop/qcow2.rst`, "Header extensions"): type, length, data padded to eight bytes; up to type
//! 0, the backing name or the cluster's end.

use super::header::{Header, be32};
use crate::Malformed;

/// "Backing file format name string".
pub(super) const BACKING_FORMAT: u32 = 0xE279_2ACA;
/// "Full disk encryption header pointer".
pub(super) const ENCRYPTION: u32 = 0x0537_BE77;
/// "External data file name string".
pub(super) const DATA_FILE_NAME: u32 = 0x4441_5441;

/// The most extensions that are walked; QEMU knows five kinds.
const MAX_EXTENSIONS: usize = 64;

/// One extension: where its data lies.
#[derive(Debug)]
pub(super) struct Extension {
    pub(super) kind: u32,
    pub(super) offset: u64,
    pub(super) length: u32,
}

/// How far the walk got.
pub(super) enum Walk {
    Done(Vec<Extension>),
    /// The first so many bytes are needed.
    NeedHead(usize),
}

pub(super) fn walk(head: &[u8], header: &Header) -> Result<Walk, Malformed> {
    let end = if header.backing_offset == 0 { header.cluster_size() } else { header.backing_offset };
    let mut extensions = Vec::new();
    let mut at = u64::from(header.length);
    while at.saturating_add(8) <= end {
        let start = to_usize(at)?;
        if head.len() < start.saturating_add(8) {
            return Ok(Walk::NeedHead(start.saturating_add(8)));
        }
        let kind = be32(head, start)?;
        let length = be32(head, start.saturating_add(4))?;
        if kind == 0 {
            break;
        }
        let offset = at.saturating_add(8);
        if u64::from(length) > end.saturating_sub(offset) {
            return Err(Malformed(format!(
                "qcow2: the header extension at {at} has {length} bytes, expected at most {}",
                end.saturating_sub(offset)
            )));
        }
        if extensions.len() == MAX_EXTENSIONS {
            return Err(Malformed(format!("qcow2: more than {MAX_EXTENSIONS} header extensions")));
        }
        extensions.push(Extension { kind, offset, length });
        at = offset.saturating_add(u64::from(length).next_multiple_of(8));
    }
    Ok(Walk::Done(extensions))
}

fn to_usize(value: u64) -> Result<usize, Malformed> {
    usize::try_from(value).map_err(|_| Malformed("qcow2: an offset is out of range".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::header::parse;
    use super::super::tests::{put32, sample};
    use super::*;

    #[test]
    fn extensions_are_walked_to_the_end_mark() {
        let mut head = sample();
        put32(&mut head, 104, BACKING_FORMAT);
        put32(&mut head, 108, 5);
        put32(&mut head, 120, DATA_FILE_NAME);
        put32(&mut head, 124, 3);
        let Walk::Done(found) = walk(&head, &parse(&head).unwrap()).unwrap() else { panic!() };
        let found: Vec<_> =
            found.iter().map(|extension| (extension.kind, extension.offset, extension.length)).collect();
        assert_eq!(found, [(BACKING_FORMAT, 112, 5), (DATA_FILE_NAME, 128, 3)]);
    }

    #[test]
    fn an_extension_longer_than_the_cluster_is_malformed() {
        let mut head = sample();
        put32(&mut head, 104, 1);
        put32(&mut head, 108, 65_536 - 112 + 1);
        assert!(walk(&head, &parse(&head).unwrap()).is_err());
        put32(&mut head, 108, u32::MAX);
        assert!(walk(&head, &parse(&head).unwrap()).is_err());
    }

    #[test]
    fn an_endless_row_of_empty_extensions_ends() {
        let mut head = sample();
        for at in (104..65_536).step_by(8) {
            put32(&mut head, at, 7);
        }
        assert!(walk(&head, &parse(&head).unwrap()).is_err());
    }
}
