//! The name of the disk in the layer, and the date of the image.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::percent_decode_str;

use super::Source;
use crate::error::{Code, Error, Result, Stage};

/// The name of a disk that has none.
const DEFAULT_NAME: &str = "disk.img";
/// The longest name of a file.
const MAX_NAME: usize = 255;

/// The name that a source gives its disk, decoded and made fit for one path segment.
pub(super) fn announced_name(announced: &str, source: &Source) -> String {
    match source {
        Source::Http(_) | Source::Other(_) => sanitised(&percent_decode_str(announced).decode_utf8_lossy()),
        Source::File(_) | Source::StandardInput | Source::Upload(_) => sanitised(announced),
    }
}

/// The name in the layer: the user's, else what source and filters say, made fit for one path segment.
pub(super) fn disk_name(chosen: Option<&str>, announced: Option<&str>) -> Result<String> {
    if let Some(chosen) = chosen {
        return match sanitised(chosen) {
            name if name == chosen => Ok(name),
            _ => {
                let message =
                    format!("`{chosen}` is not a file name for a layer: one path segment of at most {MAX_NAME} bytes");
                Err(Error::new(Code::Usage, Stage::Plan, message))
            }
        };
    }
    Ok(announced.map_or_else(|| DEFAULT_NAME.to_owned(), sanitised))
}

/// Not a path, not hidden from a reader, and no whiteout (OCI image-spec, layer.md "Whiteouts").
#[must_use]
pub fn sanitised(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c.is_control() || matches!(c, '/' | '\\') { '_' } else { c }).collect();
    let clean = clean.strip_prefix(".wh.").map_or_else(|| clean.clone(), |rest| format!("_wh.{rest}"));
    let cut = clean.get(..clean.floor_char_boundary(MAX_NAME)).unwrap_or_default();
    match cut {
        "" | "." | ".." => DEFAULT_NAME.to_owned(),
        cut => cut.to_owned(),
    }
}

/// The image's date as RFC 3339: the source's, else what the user set for reproducible builds, else 1970. Never the clock.
pub(super) fn created(modified: Option<&str>, epoch: Option<u64>) -> String {
    let modified = modified.and_then(|date| httpdate::parse_http_date(date).ok());
    let epoch = epoch.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    let date: SystemTime = modified.or(epoch).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_seconds(date).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(announced: &str) -> String {
        let source = Source::Http(url::Url::parse("https://a.example/").unwrap());
        disk_name(None, Some(&announced_name(announced, &source))).unwrap()
    }

    #[test]
    fn a_name_from_a_url_is_decoded_and_made_safe() {
        assert_eq!(http("disk.qcow2"), "disk.qcow2");
        assert_eq!(http("my%20disk.raw"), "my disk.raw");
        assert_eq!(http("..%2f..%2Fetc%2fpasswd"), ".._.._etc_passwd");
        assert_eq!(http("a%00b%0Ac"), "a_b_c");
        assert_eq!(http("%2e%2e"), "disk.img");
        assert_eq!(http(".wh.disk"), "_wh.disk");
        assert!(http(&"%C3%A4".repeat(300)).len() <= MAX_NAME);
    }

    #[test]
    fn a_name_from_a_file_is_as_it_is() {
        let source = Source::File("/a%20b".into());
        assert_eq!(disk_name(None, Some(&announced_name("a%20b", &source))).unwrap(), "a%20b");
        assert_eq!(disk_name(None, None).unwrap(), "disk.img");
    }

    #[test]
    fn a_name_from_a_filter_is_made_safe_and_not_decoded() {
        assert_eq!(disk_name(None, Some("../a%20b")).unwrap(), ".._a%20b");
    }

    #[test]
    fn a_chosen_name_is_taken_or_refused_but_never_changed() {
        let name = |chosen| disk_name(Some(chosen), Some("x"));
        assert_eq!(name("vm.raw").unwrap(), "vm.raw");
        for chosen in ["", ".", "..", "a/b", "a\nb", ".wh.x"] {
            assert_eq!(name(chosen).unwrap_err().code(), Code::Usage, "{chosen:?}");
        }
    }

    #[test]
    fn the_date_is_the_sources_or_fixed() {
        assert_eq!(created(Some("Wed, 21 Oct 2015 07:28:00 GMT"), Some(5)), "2015-10-21T07:28:00Z");
        assert_eq!(created(Some("yesterday"), Some(5)), "1970-01-01T00:00:05Z");
        assert_eq!(created(None, None), "1970-01-01T00:00:00Z");
    }
}
