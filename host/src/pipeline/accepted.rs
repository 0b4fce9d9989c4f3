//! Whether the disk is one that is wanted: what the probe found against what the user expects and the policy accepts.

use super::Checksum;
use crate::engine::{Component, Engine};
use crate::error::{Code, Error, Result, Stage};
use crate::policy::{ProbeName, Require};
use crate::stages::{self, Severity, Verdict};

/// What a disk must be like.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// What the policy demands.
    pub(super) require: &'a Require,
    /// The format that the user expects.
    pub(super) format: Option<&'a ProbeName>,
}

impl Wanted<'_> {
    /// Before anything is read: whether the probe can give the expected format at all.
    ///
    /// # Errors
    /// `usage` if it does not declare it; those of a guest that describes itself.
    pub(super) async fn known_to(&self, engine: &Engine, probe: &Component) -> Result<()> {
        let Some(expected) = self.format else { return Ok(()) };
        let declared = stages::describe(engine, probe).await?.declares;
        if declared.split(", ").any(|format| format == expected.as_str()) {
            return Ok(());
        }
        let message =
            format!("--format: the probe `{}` knows no format `{expected}`: it knows {declared}", probe.name());
        Err(Error::new(Code::Usage, Stage::Plan, message))
    }

    /// The length of the disk, as soon as it is known.
    ///
    /// # Errors
    /// `disk-too-large`.
    pub(super) fn size(&self, size: u64) -> Result<()> {
        let Some((most, rule)) = self.require.refuses_size(size) else { return Ok(()) };
        let message = format!("the disk has {size} bytes, the policy's {rule} accepts at most {most}");
        Err(Error::new(Code::DiskTooLarge, Stage::Source, message))
    }

    /// What the probe found, the moment it has found it. All that is wrong is said; the first decides the code.
    ///
    /// # Errors
    /// `disk-format`, `disk-too-large`, `disk-refused`.
    pub(super) fn verdict(&self, verdict: Verdict) -> Result<Verdict> {
        let mut wrong = self.format(&verdict);
        wrong.extend(self.virtual_size(&verdict));
        wrong.extend(self.hazards(&verdict));
        wrong.extend(self.refused_hazards(&verdict));
        let mut wrong = wrong.into_iter();
        let Some((code, message)) = wrong.next() else { return Ok(verdict) };
        let error = Error::new(code, Stage::Probe, message);
        Err(wrong.fold(error, |error, (_, message)| error.context(message)))
    }

    fn format(&self, verdict: &Verdict) -> Vec<(Code, String)> {
        let got = &verdict.format;
        let mut wrong = Vec::new();
        if let Some(expected) = self.format.filter(|expected| expected.as_str() != got) {
            wrong.push((Code::DiskFormat, format!("the disk is {got}, expected {expected} as --format says")));
        }
        if let Some(rule) = self.require.refuses_format(got) {
            let accepted: Vec<&str> = self.require.formats.iter().map(|format| format.value.as_str()).collect();
            let accepted = accepted.join(", ");
            wrong.push((Code::DiskFormat, format!("the disk is {got}, the policy's {rule} accepts {accepted}")));
        }
        wrong
    }

    fn virtual_size(&self, verdict: &Verdict) -> Option<(Code, String)> {
        let (most, rule) = self.require.refuses_virtual_size(verdict.virtual_size)?;
        let message = match verdict.virtual_size {
            Some(size) => {
                format!("the disk has a virtual size of {size} bytes, the policy's {rule} accepts at most {most}")
            }
            None => format!(
                "the probe does not say how large the virtual disk is, the policy's {rule} accepts at most {most} bytes"
            ),
        };
        Some((Code::DiskTooLarge, message))
    }

    /// What a probe wants refused is refused, unless the policy accepts it by name.
    fn hazards(&self, verdict: &Verdict) -> Vec<(Code, String)> {
        let grave = verdict.hazards.iter().filter(|hazard| hazard.severity == Severity::Refuse);
        let refused = grave.filter(|hazard| !self.require.accepts_hazard(&hazard.code));
        let worded = refused.enumerate().map(|(at, hazard)| {
            let words = format!("{} ({})", hazard.message, hazard.code);
            let message = if at == 0 { format!("the {} disk is refused: {words}", verdict.format) } else { words };
            (Code::DiskRefused, message)
        });
        worded.collect()
    }

    fn refused_hazards(&self, verdict: &Verdict) -> Vec<(Code, String)> {
        let lighter = verdict.hazards.iter().filter(|hazard| hazard.severity != Severity::Refuse);
        let refused = lighter.filter_map(|hazard| {
            let rule = self.require.refuses_hazard(&hazard.code)?;
            let (message, code) = (&hazard.message, &hazard.code);
            let format = &verdict.format;
            let message = format!("the {format} disk is refused by the policy's {rule}: {message} ({code})");
            Some((Code::DiskRefused, message))
        });
        refused.collect()
    }
}

/// Whether a checksum that the policy demands is among those that were named.
///
/// # Errors
/// `checksum-required`.
pub(super) fn checksum_named(require: &Require, named: &[Checksum]) -> Result<()> {
    let names = named.iter().map(|checksum| checksum.expected().algorithm().as_str());
    let Some(rule) = require.missing_checksum(names) else { return Ok(()) };
    let accepted: Vec<&str> = require.checksum.iter().map(|name| name.value.as_str()).collect();
    let message = format!("no checksum was named that the policy's {rule} accepts: {}", accepted.join(", "));
    Err(Error::new(Code::ChecksumRequired, Stage::Plan, message)
        .hint("name it, or the file that has it: --checksum ALGO:HEX, --checksum-file URL"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{ChecksumName, Site, Sited};
    use crate::stages::{Described, Hazard};
    use crate::stream::Algorithm;

    fn verdict(hazards: &[(&str, Severity)]) -> Verdict {
        let hazard = |&(code, severity): &(&str, Severity)| {
            let (code, message) = (code.to_owned(), format!("about {code}"));
            Hazard { code, severity, message }
        };
        Verdict {
            format: "raw".to_owned(),
            virtual_size: Some(10),
            hazards: hazards.iter().map(hazard).collect(),
            details: Vec::new(),
            described: Described { name: "p".to_owned(), version: "1".to_owned(), declares: "raw".to_owned() },
        }
    }

    #[test]
    fn the_policy_names_the_algorithms_that_there_are() {
        let named: Vec<&str> = ChecksumName::ALL.iter().map(|name| name.as_str()).collect();
        assert_eq!(named, Algorithm::ALL.map(Algorithm::as_str));
    }

    #[test]
    fn everything_that_is_wrong_is_said_and_the_first_decides() {
        let expected: ProbeName = "qcow2".parse().unwrap();
        let require = Require {
            refused_hazards: vec![Sited::new("w".parse().unwrap(), Site::BuiltIn)],
            max_virtual_size: Some(Sited::new(9, Site::BuiltIn)),
            ..Require::default()
        };
        let wanted = Wanted { require: &require, format: Some(&expected) };
        let found = verdict(&[("r", Severity::Refuse), ("w", Severity::Warning), ("n", Severity::Note)]);
        let error = wanted.verdict(found.clone()).unwrap_err();
        assert_eq!(
            (error.code(), error.to_string().as_str()),
            (Code::DiskFormat, "the disk is raw, expected qcow2 as --format says")
        );
        let causes = error.causes();
        assert_eq!(causes.len(), 3, "{causes:?}");
        assert!(causes[0].starts_with("the disk has a virtual size of 10 bytes") && causes[0].ends_with("at most 9"));
        assert_eq!(causes[1], "the raw disk is refused: about r (r)");
        assert!(causes[2].contains("`require.refused-hazards` (built-in): about w (w)"), "{causes:?}");
        let none = Require::default();
        let usual = Wanted { require: &none, format: None };
        assert_eq!(usual.verdict(found).unwrap_err().code(), Code::DiskRefused);
        assert!(usual.verdict(verdict(&[("w", Severity::Warning)])).is_ok());
    }

    #[test]
    fn what_the_policy_accepts_by_name_passes_and_nothing_else_does() {
        let require =
            Require { accepted_hazards: vec![Sited::new("r".parse().unwrap(), Site::BuiltIn)], ..Require::default() };
        let wanted = Wanted { require: &require, format: None };
        assert!(wanted.verdict(verdict(&[("r", Severity::Refuse), ("w", Severity::Warning)])).is_ok());
        let error = wanted.verdict(verdict(&[("r", Severity::Refuse), ("s", Severity::Refuse)])).unwrap_err();
        assert_eq!(error.to_string(), "the raw disk is refused: about s (s)");
        assert!(error.causes().is_empty());
    }
}
