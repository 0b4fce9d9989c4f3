//! What is said of a disk.

/// How grave a hazard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Works, with something lost or at risk.
    Warning,
    /// Refused by default.
    Refuse,
}

/// Something that whoever runs the disk must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hazard {
    /// A stable name.
    pub code: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// One sentence with the bytes that prove it.
    pub message: String,
}

/// What a wrapper says of the size of what is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentSize {
    /// Nothing, or the disk is no wrapper.
    #[default]
    Unknown,
    /// Bytes of one part, or modulo something, or without a check.
    Claimed(u64),
    /// Bytes, as a checksum over all parts of the wrapper holds it.
    Exact(u64),
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// One of [`FORMATS`](crate::FORMATS).
    pub format: &'static str,
    /// Bytes as a guest machine would see them.
    pub virtual_size: Option<u64>,
    /// What a wrapper says of the size of what is in it.
    pub content_size: ContentSize,
    /// Hazards in the order found, at most [`MAX_HAZARDS`].
    pub hazards: Vec<Hazard>,
    /// Name and value.
    pub details: Vec<(&'static str, String)>,
}

/// The disk is of a known format and contradicts its specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

/// The most hazards that are told, as the `probe` interface has it; those that refuse come before all others.
pub const MAX_HAZARDS: usize = 64;

/// The most characters of a name or text from the disk that are shown.
const MAX_SHOWN: usize = 80;

impl Verdict {
    pub(crate) const fn new(format: &'static str, virtual_size: Option<u64>) -> Self {
        Self { format, virtual_size, content_size: ContentSize::Unknown, hazards: Vec::new(), details: Vec::new() }
    }

    pub(crate) fn refuse(&mut self, code: &'static str, message: impl Into<String>) {
        self.hazard(code, Severity::Refuse, message.into());
    }

    pub(crate) fn warn(&mut self, code: &'static str, message: impl Into<String>) {
        self.hazard(code, Severity::Warning, message.into());
    }

    pub(crate) fn note(&mut self, code: &'static str, message: impl Into<String>) {
        self.hazard(code, Severity::Note, message.into());
    }

    pub(crate) fn detail(&mut self, name: &'static str, value: impl ToString) {
        self.details.push((name, value.to_string()));
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.hazards.iter().any(|hazard| hazard.severity == Severity::Refuse)
    }

    fn hazard(&mut self, code: &'static str, severity: Severity, message: String) {
        if self.hazards.len() < MAX_HAZARDS {
            self.hazards.push(Hazard { code, severity, message });
        } else if severity == Severity::Refuse
            && let Some(least) = self.hazards.iter_mut().rfind(|hazard| hazard.severity != Severity::Refuse)
        {
            *least = Hazard { code, severity, message };
        }
    }
}

/// Text from the disk in quotation marks, with everything but printable ASCII escaped, cut to a length that fits a message.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let shown = bytes.get(..MAX_SHOWN.min(bytes.len())).unwrap_or_default();
    let text: String = shown.escape_ascii().to_string().chars().take(MAX_SHOWN).collect();
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flood_of_notes_hides_a_hazard_that_refuses() {
        let mut verdict = Verdict::new("raw", None);
        for _ in 0..100 {
            verdict.note("a", "");
        }
        assert!(!verdict.is_refused());
        verdict.refuse("b", "");
        assert!(verdict.is_refused());
        assert_eq!(verdict.hazards.len(), MAX_HAZARDS);
        for _ in 0..100 {
            verdict.refuse("b", "");
        }
        assert_eq!(verdict.hazards.len(), MAX_HAZARDS);
    }

    #[test]
    fn text_is_escaped_and_cut() {
        assert_eq!(quoted(b"a\nb\xff"), "`a\\nb\\xff`");
        assert_eq!(quoted(&[b'x'; 500]).len(), MAX_SHOWN + 2);
        assert_eq!(quoted(b""), "``");
    }
}
