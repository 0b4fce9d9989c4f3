//! The section `limits`: times like `30s` and sizes like `64MiB`, within bounds.

use std::time::Duration;

use super::section::{Invalid, Item, Section};
use crate::policy::limits::{Bounds, LIMITS};
use crate::policy::{Limits, Sites};

/// Units of sizes.
const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

pub(super) fn limits(section: &Section<'_>, sites: &mut Sites) -> Result<Limits, Invalid> {
    let mut limits = Limits::default();
    for (key, bounds) in LIMITS {
        let name = key.strip_prefix("limits.").unwrap_or(key);
        let site = match bounds {
            Bounds::Time(field, least, most) => bound_time(section, name, (least, most))?.map(|item| {
                *field(&mut limits) = item.value;
                item.site
            }),
            Bounds::Size(field, least, most) => bound_size(section, name, (least as u64, most as u64))?.map(|item| {
                *field(&mut limits) = usize::try_from(item.value).unwrap_or(most);
                item.site
            }),
            Bounds::Count(field, least, most) => section.integer(name, least.into(), most.into())?.map(|item| {
                *field(&mut limits) = u32::try_from(item.value).unwrap_or(most);
                item.site
            }),
        };
        if let Some(site) = site {
            sites.set(key, site);
        }
    }
    for (name, pause) in [("back-off", limits.back_off), ("source-back-off", limits.source_back_off)] {
        let said = section.span_of(name).or_else(|| section.span_of("total"));
        if let (Some(span), true) = (said, pause > limits.total) {
            let (pause, total) = (shown_time(pause), shown_time(limits.total));
            let message = format!(
                "`limits.{name}` is {pause}, longer than `limits.total`, {total}: nothing would be tried twice"
            );
            return Err(section.invalid(&span, message));
        }
    }
    Ok(limits)
}

/// A time that a key has, between two bounds, both included.
pub(super) fn bound_time(
    section: &Section<'_>,
    name: &str,
    (least, most): (Duration, Duration),
) -> Result<Option<Item<Duration>>, Invalid> {
    let Some(Item { value: text, site, span }) = section.string(name)? else { return Ok(None) };
    let invalid = |expected: String| section.invalid(&span, format!("`{}` is `{text}`, {expected}", section.key(name)));
    let time = humantime::parse_duration(text).map_err(|_| invalid("expected a time like `30s` or `5m`".to_owned()))?;
    if !(least..=most).contains(&time) {
        return Err(invalid(format!("expected from {} to {}", shown_time(least), shown_time(most))));
    }
    Ok(Some(Item { value: time, site, span }))
}

/// A size that a key has, between two bounds, both included.
pub(super) fn bound_size(
    section: &Section<'_>,
    name: &str,
    (least, most): (u64, u64),
) -> Result<Option<Item<u64>>, Invalid> {
    let Some(Item { value: text, site, span }) = section.string(name)? else { return Ok(None) };
    let invalid = |expected: String| section.invalid(&span, format!("`{}` is `{text}`, {expected}", section.key(name)));
    let bytes = size(text).ok_or_else(|| invalid("expected a size like `64MiB`".to_owned()))?;
    if !(least..=most).contains(&bytes) {
        return Err(invalid(format!("expected from {} to {}", shown_size(least), shown_size(most))));
    }
    Ok(Some(Item { value: bytes, site, span }))
}

/// A time as a document has it.
pub(in crate::policy) fn shown_time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// A size as a document has it.
pub(in crate::policy) fn shown_size(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// A whole number of bytes, KiB, MiB, GiB or TiB.
pub(super) fn size(text: &str) -> Option<u64> {
    let (digits, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).unwrap_or((text, 1));
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| whole)?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_shown() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1GiB", 1 << 30), ("1536KiB", 1536 << 10), ("5000001", 5_000_001)] {
            assert_eq!(size(text), Some(bytes));
            assert_eq!(shown_size(bytes), text);
        }
        for text in ["", "MiB", "64 MiB", "64MB", "+64MiB", "-1", "1.5GiB", "99999999999999999999GiB", "0x10"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
