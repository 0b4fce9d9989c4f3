//! A disk from the one file, device or standard input that the host granted, handed on untouched.
//!
//! This half is plain logic, testable without wasm; `component` is the glue to the `source-component` world.

#[cfg(target_family = "wasm")]
mod component;

/// The location that means standard input.
pub const STANDARD_INPUT: &str = "-";

/// The last segment of a path or `file:` URL, none for standard input.
#[must_use]
pub fn name(location: &str) -> Option<&str> {
    if location == STANDARD_INPUT {
        return None;
    }
    location.rsplit('/').next().filter(|last| !last.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_last_segment() {
        assert_eq!(name("/srv/disk.raw"), Some("disk.raw"));
        assert_eq!(name("file:///srv/disk.raw"), Some("disk.raw"));
        assert_eq!(name("disk.raw"), Some("disk.raw"));
        assert_eq!(name("-"), None);
        assert_eq!(name("/srv/"), None);
    }
}
