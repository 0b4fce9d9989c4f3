//! Numbers in a structure of a disk, each named with its offset when it is wrong or missing.

use crate::Malformed;

/// A structure of a disk.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    format: &'static str,
    /// What it is: "header", "footer", …
    what: &'static str,
    /// Where it stands in the disk, added to every offset that is named.
    base: u64,
    bytes: &'a [u8],
}

macro_rules! numbers {
    ($($name:ident $type:ident $from:ident),*) => {
        $(pub(crate) fn $name(&self, at: usize) -> Result<$type, Malformed> {
            let bytes = self.bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or_else(|| self.cut())?;
            Ok($type::$from(*bytes))
        })*
    };
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(format: &'static str, what: &'static str, base: u64, bytes: &'a [u8]) -> Self {
        Self { format, what, base, bytes }
    }

    numbers!(be16 u16 from_be_bytes, be32 u32 from_be_bytes, be64 u64 from_be_bytes);
    numbers!(le16 u16 from_le_bytes, le32 u32 from_le_bytes, le64 u64 from_le_bytes);
    numbers!(byte u8 from_be_bytes);

    /// `len` bytes at `at`.
    pub(crate) fn bytes(&self, at: usize, len: usize) -> Result<&'a [u8], Malformed> {
        self.bytes.get(at..).and_then(|from| from.get(..len)).ok_or_else(|| self.cut())
    }

    /// A number that must be within bounds.
    pub(crate) fn check(&self, name: &str, at: usize, value: u64, least: u64, most: u64) -> Result<u64, Malformed> {
        if (least..=most).contains(&value) {
            return Ok(value);
        }
        let expected = if least == most { least.to_string() } else { format!("{least} to {most}") };
        Err(self.wrong(name, at, &value.to_string(), &expected))
    }

    /// A field that is not as it must be.
    pub(crate) fn wrong(&self, name: &str, at: usize, value: &str, expected: &str) -> Malformed {
        let at = self.base.saturating_add(at as u64);
        self.malformed(&format!("{name} at {at} is {value}, expected {expected}"))
    }

    /// Bytes that must stand there.
    pub(crate) fn expect(&self, name: &str, at: usize, expected: &[u8]) -> Result<(), Malformed> {
        let found = self.bytes(at, expected.len())?;
        if found == expected {
            return Ok(());
        }
        Err(self.wrong(name, at, &crate::verdict::quoted(found), &crate::verdict::quoted(expected)))
    }

    pub(crate) fn malformed(&self, words: &str) -> Malformed {
        Malformed(format!("{}: {words}", self.format))
    }

    fn cut(&self) -> Malformed {
        self.malformed(&format!("the file ends inside its {}", self.what))
    }
}

/// Whether there is anything but zeros.
pub(crate) fn any(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| *byte != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_in_its_byte_order_and_a_missing_one_is_named() {
        let fields = Fields::new("test", "header", 1000, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!((fields.be16(0), fields.le16(0)), (Ok(0x0102), Ok(0x0201)));
        assert_eq!((fields.be32(1), fields.le32(1)), (Ok(0x0203_0405), Ok(0x0504_0302)));
        assert_eq!((fields.be64(1), fields.le64(1)), (Ok(0x0203_0405_0607_0809), Ok(0x0908_0706_0504_0302)));
        assert_eq!(fields.byte(8), Ok(9));
        let cut = Malformed("test: the file ends inside its header".to_owned());
        assert_eq!(fields.be64(2), Err(cut.clone()));
        assert_eq!(fields.byte(usize::MAX), Err(cut.clone()));
        assert_eq!(fields.bytes(8, 2), Err(cut));
        let wrong = fields.check("size", 4, 9, 1, 8).unwrap_err().0;
        assert_eq!(wrong, "test: size at 1004 is 9, expected 1 to 8");
        assert!(fields.expect("mark", 0, &[1, 2]).is_ok());
        assert!(fields.expect("mark", 0, b"ab").unwrap_err().0.contains("mark at 1000 is `\\x01\\x02`, expected `ab`"));
    }
}
