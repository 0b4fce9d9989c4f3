//! Whether the disk is one that is wanted: what the probe found against what the user expects and the policy accepts.

use super::Checksum;
use super::content::Content;
use crate::engine::{Component, Engine};
use crate::error::{Code, Error, Result, Stage};
use crate::policy::{ProbeName, Require};
use crate::stages::{self, Hazard, Severity, Verdict};

/// What a disk must be like.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// What the policy demands.
    pub(super) require: &'a Require,
    /// The format that the user expects.
    pub(super) format: Option<&'a ProbeName>,
    /// Whether it must have a byte.
    pub(super) not_empty: bool,
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
    /// `disk-too-large`; `disk-invalid` if it is empty and must not be.
    pub(super) fn size(&self, size: u64) -> Result<()> {
        if self.not_empty && size == 0 {
            return Err(Error::new(Code::DiskInvalid, Stage::Source, "the disk has no byte, expected some"));
        }
        let Some((most, rule)) = self.require.refuses_size(size) else { return Ok(()) };
        let message = format!("the disk has {size} bytes, the policy's {rule} accepts at most {most}");
        Err(Error::new(Code::DiskTooLarge, Stage::Source, message))
    }

    /// What the probe found, the moment it has found it, and what is within it. All that is wrong is said; the first decides the
    /// code. Of a wrapper that was looked into, format and virtual size of what is inside count, and hazards of both.
    ///
    /// # Errors
    /// `disk-format`, `disk-too-large`, `disk-refused`.
    pub(super) fn found(&self, verdict: &Verdict, content: Option<&Content>) -> Result<()> {
        let inside = content.and_then(|content| content.verdict.as_ref().ok());
        let innermost = inside.unwrap_or(verdict);
        let within = content.filter(|_| inside.is_some()).map(Content::within);
        let name = named(&innermost.format, within.as_deref());
        let mut wrong = self.format(&innermost.format, &name);
        wrong.extend(self.virtual_size(innermost.virtual_size));
        wrong.extend(self.all_hazards(verdict, content));
        first_of(wrong)
    }

    /// A wrapper that has yet to be looked into: nothing in it makes up for its own hazards, and one that is refused for them is
    /// all there is.
    ///
    /// # Errors
    /// As for [`Self::found`].
    pub(super) fn wrapper(&self, verdict: &Verdict) -> Result<()> {
        match self.all_hazards(verdict, None).is_empty() {
            true => Ok(()),
            false => self.found(verdict, None),
        }
    }

    fn format(&self, got: &str, name: &str) -> Vec<(Code, String)> {
        let mut wrong = Vec::new();
        if let Some(expected) = self.format.filter(|expected| expected.as_str() != got) {
            wrong.push((Code::DiskFormat, format!("the disk is {name}, expected {expected} as --format says")));
        }
        if let Some(rule) = self.require.refuses_format(got) {
            let accepted: Vec<&str> = self.require.formats.iter().map(|format| format.value.as_str()).collect();
            let accepted = accepted.join(", ");
            wrong.push((Code::DiskFormat, format!("the disk is {name}, the policy's {rule} accepts {accepted}")));
        }
        wrong
    }

    fn virtual_size(&self, size: Option<u64>) -> Option<(Code, String)> {
        let (most, rule) = self.require.refuses_virtual_size(size)?;
        let message = match size {
            Some(size) => {
                format!("the disk has a virtual size of {size} bytes, the policy's {rule} accepts at most {most}")
            }
            None => format!(
                "the probe does not say how large the virtual disk is, the policy's {rule} accepts at most {most} bytes"
            ),
        };
        Some((Code::DiskTooLarge, message))
    }

    fn all_hazards(&self, verdict: &Verdict, content: Option<&Content>) -> Vec<(Code, String)> {
        let mut of = vec![(verdict.format.clone(), &verdict.hazards)];
        if let Some(content) = content {
            let within = content.within();
            let name = content.verdict.as_ref().map_or_else(|_| within.clone(), |it| named(&it.format, Some(&within)));
            of.push((name, &content.hazards));
        }
        let mut wrong: Vec<(Code, String)> =
            of.iter().flat_map(|(name, hazards)| self.hazards(name, hazards)).collect();
        wrong.extend(of.iter().flat_map(|(name, hazards)| self.refused_hazards(name, hazards)));
        wrong
    }

    /// What a probe wants refused is refused, unless the policy accepts it by name.
    fn hazards(&self, name: &str, hazards: &[Hazard]) -> Vec<(Code, String)> {
        let grave = hazards.iter().filter(|hazard| hazard.severity == Severity::Refuse);
        let refused = grave.filter(|hazard| !self.require.accepts_hazard(&hazard.code));
        let worded = refused.enumerate().map(|(at, hazard)| {
            let words = format!("{} ({})", hazard.message, hazard.code);
            let message = if at == 0 { format!("the {name} disk is refused: {words}") } else { words };
            (Code::DiskRefused, message)
        });
        worded.collect()
    }

    fn refused_hazards(&self, name: &str, hazards: &[Hazard]) -> Vec<(Code, String)> {
        let lighter = hazards.iter().filter(|hazard| hazard.severity != Severity::Refuse);
        let refused = lighter.filter_map(|hazard| {
            let rule = self.require.refuses_hazard(&hazard.code)?;
            let (message, code) = (&hazard.message, &hazard.code);
            let message = format!("the {name} disk is refused by the policy's {rule}: {message} ({code})");
            Some((Code::DiskRefused, message))
        });
        refused.collect()
    }
}

/// A format, and what it is in, innermost first.
fn named(format: &str, within: Option<&str>) -> String {
    within.map_or_else(|| format.to_owned(), |within| format!("{format} in {within}"))
}

/// All that is wrong as one error.
fn first_of(wrong: Vec<(Code, String)>) -> Result<()> {
    let mut wrong = wrong.into_iter();
    let Some((code, message)) = wrong.next() else { return Ok(()) };
    let error = Error::new(code, Stage::Probe, message);
    Err(wrong.fold(error, |error, (_, message)| error.context(message)))
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
    use crate::stages::{ContentSize, Described};
    use crate::stream::Algorithm;

    fn verdict(hazards: &[(&str, Severity)]) -> Verdict {
        let hazard = |&(code, severity): &(&str, Severity)| {
            let (code, message) = (code.to_owned(), format!("about {code}"));
            Hazard { code, severity, message }
        };
        Verdict {
            format: "raw".to_owned(),
            virtual_size: Some(10),
            content_size: ContentSize::Unknown,
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
        let wanted = Wanted { require: &require, format: Some(&expected), not_empty: false };
        let found = verdict(&[("r", Severity::Refuse), ("w", Severity::Warning), ("n", Severity::Note)]);
        let error = wanted.found(&found, None).unwrap_err();
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
        let usual = Wanted { require: &none, format: None, not_empty: true };
        assert_eq!(usual.found(&found, None).unwrap_err().code(), Code::DiskRefused);
        assert!(usual.found(&verdict(&[("w", Severity::Warning)]), None).is_ok());
    }

    #[test]
    fn what_the_policy_accepts_by_name_passes_and_nothing_else_does() {
        let require =
            Require { accepted_hazards: vec![Sited::new("r".parse().unwrap(), Site::BuiltIn)], ..Require::default() };
        let wanted = Wanted { require: &require, format: None, not_empty: false };
        assert!(wanted.found(&verdict(&[("r", Severity::Refuse), ("w", Severity::Warning)]), None).is_ok());
        let error = wanted.found(&verdict(&[("r", Severity::Refuse), ("s", Severity::Refuse)]), None).unwrap_err();
        assert_eq!(error.to_string(), "the raw disk is refused: about s (s)");
        assert!(error.causes().is_empty());
    }
}
