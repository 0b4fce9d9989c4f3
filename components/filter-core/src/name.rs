//! What a file is called without its wrapper.

/// `name` without the ending of a wrapper: `endings` are pairs of what it ends in, lower case, and what stands there instead.
/// A name without such an ending, or of nothing else, stays as it is.
#[must_use]
pub fn bare(name: &str, endings: &[(&str, &str)]) -> String {
    endings
        .iter()
        .find_map(|(ending, instead)| {
            let at = name.len().checked_sub(ending.len())?;
            let (stem, end) = (name.get(..at)?, name.get(at..)?);
            (!stem.is_empty() && end.eq_ignore_ascii_case(ending)).then(|| format!("{stem}{instead}"))
        })
        .unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_comes_off() {
        let endings = [(".gz", ""), (".tgz", ".tar")];
        for (name, expected) in [
            ("vm.qcow2.gz", "vm.qcow2"),
            ("vm.RAW.GZ", "vm.RAW"),
            ("all.tgz", "all.tar"),
            ("vm.qcow2", "vm.qcow2"),
            (".gz", ".gz"),
            ("gz", "gz"),
            ("é", "é"),
            ("aé", "aé"),
            ("", ""),
        ] {
            assert_eq!(bare(name, &endings), expected, "{name}");
        }
    }
}
