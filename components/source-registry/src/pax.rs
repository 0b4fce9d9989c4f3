//! What an extended header says about the entry behind it (POSIX.1-2017, pax "Extended Header").

/// The path and the size that stand in for those of the next header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    /// The path.
    pub(crate) path: Option<Vec<u8>>,
    /// Bytes.
    pub(crate) size: Option<u64>,
    /// Whether the file is stored without its holes (GNU tar "Storing Sparse Files").
    pub(crate) sparse: bool,
}

impl Pax {
    /// Reads records, each `LENGTH KEY=VALUE\n`. The last of a key counts; an empty value takes it back.
    pub(crate) fn read(&mut self, mut records: &[u8]) -> Result<(), String> {
        while !records.is_empty() {
            let (record, rest) = record(records).ok_or("an extended header is malformed")?;
            records = rest;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or("an extended header has no value")?;
            let (key, value) = record.split_at(equals);
            let value = value.get(1..).unwrap_or_default();
            match key {
                b"path" => self.path = (!value.is_empty()).then(|| value.to_vec()),
                b"size" if value.is_empty() => self.size = None,
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    self.size = Some(size.ok_or("an extended header has a size that is no number")?);
                }
                _ => self.sparse |= key.starts_with(b"GNU.sparse."),
            }
        }
        Ok(())
    }

    /// The same with what `other` says in front of it.
    pub(crate) fn over(self, other: &Self) -> Self {
        Self {
            path: self.path.or_else(|| other.path.clone()),
            size: self.size.or(other.size),
            sparse: self.sparse || other.sparse,
        }
    }
}

/// The first record without its length and its newline, and what is behind it.
fn record(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = records.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(records.get(..digits)?).ok()?.parse().ok()?;
    let record = records.get(digits + 1..length)?.strip_suffix(b"\n")?;
    Some((record, records.get(length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(records: &[u8]) -> Result<Pax, String> {
        let mut pax = Pax::default();
        pax.read(records).map(|()| pax)
    }

    #[test]
    fn records_are_read_to_the_last() {
        let expected = Pax { path: Some(b"disk/b".to_vec()), size: Some(8192), sparse: false };
        assert_eq!(
            read(b"21 path=disk/a.qcow2\n8 path=\n15 path=disk/b\n11 mtime=1\n13 size=8192\n"),
            Ok(expected.clone())
        );
        assert!(read(b"22 GNU.sparse.major=1\n").unwrap().sparse);
        let global = Pax { size: Some(1), ..Pax::default() };
        assert_eq!(expected.clone().over(&global), expected);
        assert_eq!(Pax::default().over(&global), global);
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for records in [
            &b"x"[..],
            b"5 a=b",
            b"999 a=b\n",
            b"0 a=b\n",
            b"2 a=b\n",
            b"-1 a=b\n",
            b"6 abc\n",
            b"18446744073709551616 a=b\n",
            b"10 size=x\n",
            b"11 size=-1\n",
        ] {
            assert!(read(records).is_err(), "{}", String::from_utf8_lossy(records));
        }
    }
}
