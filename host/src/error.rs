//! One error for the whole program: what went wrong, in which stage, whose fault, whether trying again can help.
//!
//! Codes and exit codes are a contract; `docs/errors.md` documents every one, and a test compares the two.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $exit:literal, $blame:ident, $retry:ident;)+) => {
        /// What went wrong. The text and the exit code are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as it stands in reports and messages.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The exit code of a process that ends with it.
            #[must_use]
            pub const fn exit(self) -> u8 {
                match self { $(Self::$name => $exit,)+ }
            }

            /// Whose fault it is unless somebody knows better.
            #[must_use]
            pub const fn blame(self) -> Blame {
                match self { $(Self::$name => Blame::$blame,)+ }
            }

            /// Whether trying again can help.
            #[must_use]
            pub const fn retryable(self) -> Retryable {
                match self { $(Self::$name => Retryable::$retry,)+ }
            }

            /// What it means, as documented.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc,)+),)+ }.trim()
            }
        }
    };
}

codes! {
    /// The command line is wrong.
    Usage = "usage", 2, User, No;
    /// Part of the contract, but not built yet.
    Unsupported = "unsupported", 2, User, No;
    /// There is nothing at the source's location.
    SourceNotFound = "source-not-found", 10, Source, No;
    /// The source's host cannot be resolved or connected to, or the connection broke before an answer.
    SourceUnreachable = "source-unreachable", 10, Network, Yes;
    /// The source answered with a status that is not the disk, or reading it failed.
    SourceFailed = "source-failed", 10, Source, Yes;
    /// The source ended before the length it had announced.
    SourceTruncated = "source-truncated", 10, Source, Yes;
    /// The source sent nothing for too long.
    SourceStalled = "source-stalled", 10, Source, Yes;
    /// The source does not say how long it is, and neither did the user.
    SourceLengthUnknown = "source-length-unknown", 11, Content, No;
    /// The source has another length than was announced or demanded.
    SourceLengthMismatch = "source-length-mismatch", 11, Content, No;
    /// The source is larger than whoever takes it in accepts.
    SourceTooLarge = "source-too-large", 11, Content, No;
    /// The source changed while it was read.
    SourceChanged = "source-changed", 11, Content, Yes;
    /// The source contradicts itself.
    SourceInvalid = "source-invalid", 11, Content, No;
    /// The source streams other bytes than it answered by range to the probe.
    SourceInconsistent = "source-inconsistent", 11, Content, No;
    /// The bytes received or the disk do not have a checksum that was demanded.
    ChecksumMismatch = "checksum-mismatch", 11, Content, No;
    /// The checksum file is malformed, or does not name the disk exactly once.
    ChecksumFileUnusable = "checksum-file-unusable", 11, Content, No;
    /// A filter wrote a disk of another length than was announced or demanded.
    DiskLengthMismatch = "disk-length-mismatch", 11, Content, No;
    /// The disk is malformed.
    DiskInvalid = "disk-invalid", 11, Content, No;
    /// The disk has another format than was expected, or than the policy accepts.
    DiskFormat = "disk-format", 11, Content, No;
    /// The disk is larger than the policy accepts.
    DiskTooLarge = "disk-too-large", 11, Content, No;
    /// The disk has a hazard that the policy refuses.
    DiskRefused = "disk-refused", 11, Content, No;
    /// The registry's host cannot be resolved or connected to, or the connection broke.
    RegistryUnreachable = "registry-unreachable", 12, Network, Yes;
    /// The registry or the image layout has nothing of that name.
    RegistryNotFound = "registry-not-found", 12, User, No;
    /// The registry answered with an error.
    RegistryFailed = "registry-failed", 12, Registry, Yes;
    /// The registry answered something that the protocol does not allow.
    RegistryProtocol = "registry-protocol", 12, Registry, No;
    /// The registry has something else than what was pushed.
    RegistryMismatch = "registry-mismatch", 12, Registry, No;
    /// The registry lost an upload that was to be continued, and the policy does not let it start over again.
    UploadLost = "upload-lost", 12, Registry, No;
    /// The registry took nothing for too long.
    RegistryStalled = "registry-stalled", 12, Registry, Yes;
    /// The policy does not allow to connect there.
    EgressDenied = "egress-denied", 13, Policy, No;
    /// Plain HTTP was not allowed for that host.
    PlainHttpDenied = "plain-http-denied", 13, Policy, No;
    /// The policy does not allow that flag.
    FlagDenied = "flag-denied", 13, Policy, No;
    /// The policy does not allow that component, or not as what it is for.
    ComponentDenied = "component-denied", 13, Policy, No;
    /// The policy does not allow to put the image there.
    DestinationDenied = "destination-denied", 13, Policy, No;
    /// The tag is there already, and the policy does not let it be moved.
    TagExists = "tag-exists", 13, Policy, No;
    /// The policy demands a checksum that nobody named.
    ChecksumRequired = "checksum-required", 13, Policy, No;
    /// The policy is missing, unreadable or invalid.
    PolicyInvalid = "policy-invalid", 13, Policy, No;
    /// The component trapped.
    ComponentTrapped = "component-trapped", 14, Component, No;
    /// The component spent what it was granted of CPU, memory or output.
    ComponentBudget = "component-budget", 14, Component, No;
    /// The component did nothing while it was waited for.
    ComponentStalled = "component-stalled", 14, Component, No;
    /// The component broke its contract.
    ComponentContract = "component-contract", 14, Component, No;
    /// The component says that it failed.
    ComponentFailed = "component-failed", 14, Component, No;
    /// The component cannot be loaded: not a component, does not fit its world, cannot be compiled within bounds.
    ComponentInvalid = "component-invalid", 14, Component, No;
    /// No TLS session within the policy.
    TlsHandshake = "tls-handshake", 15, Policy, No;
    /// The peer's certificate is not trusted.
    TlsCertificate = "tls-certificate", 15, Policy, No;
    /// The source wants other credentials.
    SourceDenied = "source-denied", 16, Source, No;
    /// The registry wants other credentials.
    RegistryDenied = "registry-denied", 16, Registry, No;
    /// The proxy wants other credentials.
    ProxyDenied = "proxy-denied", 16, Network, No;
    /// The credentials cannot be read.
    CredentialsUnreadable = "credentials-unreadable", 16, User, No;
    /// A local file other than the source cannot be read or written.
    LocalFile = "local-file", 20, User, No;
    /// The disk is larger than the spool may become.
    SpoolFull = "spool-full", 20, User, No;
    /// The checkpoint is none, or one of another import.
    CheckpointRefused = "checkpoint-refused", 20, User, No;
    /// A bug in longshore.
    Internal = "internal", 70, Internal, No;
    /// SIGINT.
    Interrupted = "interrupted", 130, User, Yes;
    /// SIGTERM.
    Terminated = "terminated", 143, User, Yes;
}

/// Where in the flow it went wrong, upstream first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Before anything flowed: arguments, policy, components.
    Plan,
    /// Reading the disk.
    Source,
    /// Checksums that were demanded.
    Checksum,
    /// Making a disk of what was read.
    Filter,
    /// Looking at the disk.
    Probe,
    /// Wrapping it.
    Framing,
    /// Compressing the layer.
    Compressor,
    /// Sending the layer.
    Upload,
    /// Config, manifest and tags.
    Publish,
    /// Writing the report.
    Report,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// Whoever typed the command.
    User,
    /// What the policy says.
    Policy,
    /// The source.
    Source,
    /// The disk itself.
    Content,
    /// A component.
    Component,
    /// The registry or the layout.
    Registry,
    /// What lies between.
    Network,
    /// longshore.
    Internal,
}

/// Whether the same command can succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retryable {
    /// It may.
    Yes,
    /// Not unless something is changed.
    No,
}

/// What went wrong, with everything a person needs to act on it.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: Code,
    stage: Stage,
    blame: Blame,
    retryable: Retryable,
    message: String,
    context: Vec<String>,
    left: Vec<String>,
    hint: Option<String>,
    after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of that code in that stage. `message` says who did what, expected and got: lower case, no final period.
    #[must_use]
    pub fn new(code: Code, stage: Stage, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            stage,
            blame: code.blame(),
            retryable: code.retryable(),
            message: message.into(),
            context: Vec::new(),
            left: Vec::new(),
            hint: None,
            after: None,
            source: None,
        }))
    }

    /// A bug.
    #[must_use]
    pub fn internal(stage: Stage, message: impl Into<String>) -> Self {
        Self::new(Code::Internal, stage, message)
    }

    /// With what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// With somebody else's words about the same thing.
    #[must_use]
    pub fn context(mut self, words: impl Into<String>) -> Self {
        self.0.context.push(words.into());
        self
    }

    /// With advice, unless there is some already.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// With what is left behind at the destination.
    #[must_use]
    pub fn left(mut self, what: impl Into<String>) -> Self {
        self.0.left.push(what.into());
        self
    }

    /// With a better idea of whether trying again can help.
    #[must_use]
    pub fn retryable_as(mut self, retryable: Retryable) -> Self {
        self.0.retryable = retryable;
        self
    }

    /// The same, told as something that went wrong elsewhere: code, stage and blame are others, the words stay.
    #[must_use]
    pub fn told_as(mut self, code: Code, stage: Stage) -> Self {
        (self.0.code, self.0.stage, self.0.blame) = (code, stage, code.blame());
        self
    }

    /// With how long the peer wants to be left alone.
    #[must_use]
    pub fn after(mut self, pause: Option<Duration>) -> Self {
        self.0.after = pause;
        self
    }

    /// The same once more, for somebody else who waits for it. What caused it is there in words.
    #[must_use]
    pub fn retold(&self) -> Self {
        let inner = &self.0;
        Self(Box::new(Inner {
            code: inner.code,
            stage: inner.stage,
            blame: inner.blame,
            retryable: inner.retryable,
            message: inner.message.clone(),
            context: self.causes(),
            left: inner.left.clone(),
            hint: inner.hint.clone(),
            after: inner.after,
            source: None,
        }))
    }

    /// What went wrong.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Where.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.0.stage
    }

    /// Whose fault.
    #[must_use]
    pub fn blame(&self) -> Blame {
        self.0.blame
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn retryable(&self) -> Retryable {
        self.0.retryable
    }

    /// How long the peer wants to be left alone, if it said so.
    #[must_use]
    pub fn wanted_pause(&self) -> Option<Duration> {
        self.0.after
    }

    /// Advice.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whether somebody said already what is left behind.
    #[must_use]
    pub fn leftovers(&self) -> &[String] {
        &self.0.left
    }

    /// Other accounts of the same thing, then the causes, outermost first. A cause whose words the level above has
    /// already is not said again.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let mut causes = self.0.context.clone();
        let mut said = self.0.message.clone();
        let mut next: Option<&(dyn StdError + 'static)> = self.0.source.as_deref().map(|source| source as _);
        while let Some(cause) = next {
            let words = cause.to_string();
            if !said.contains(&words) {
                causes.push(words.clone());
            }
            said = words;
            next = cause.source();
        }
        causes
    }

    /// Of two errors of one run the one further up the flow, which is the cause of the other.
    #[must_use]
    pub fn most_upstream(self, other: Self) -> Self {
        if other.stage() < self.stage() { other } else { self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl Stage {
    /// The stage as it stands in reports and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Source => "source",
            Self::Checksum => "checksum",
            Self::Filter => "filter",
            Self::Probe => "probe",
            Self::Framing => "framing",
            Self::Compressor => "compressor",
            Self::Upload => "upload",
            Self::Publish => "publish",
            Self::Report => "report",
        }
    }
}

impl Blame {
    /// The blame as it stands in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Policy => "policy",
            Self::Source => "source",
            Self::Content => "content",
            Self::Component => "component",
            Self::Registry => "registry",
            Self::Network => "network",
            Self::Internal => "internal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented_with_its_exit_code() {
        let page = include_str!("../../docs/errors.md");
        for code in Code::ALL {
            let row = format!(
                "| {} | `{}` | {} | {} | {} |",
                code.exit(),
                code.as_str(),
                code.blame().as_str(),
                if code.retryable() == Retryable::Yes { "yes" } else { "no" },
                code.meaning()
            );
            assert!(page.contains(&row), "docs/errors.md lacks the row\n{row}");
        }
        assert_eq!(page.matches("| `").count(), Code::ALL.len(), "docs/errors.md has rows of no code");
    }

    #[test]
    fn the_most_upstream_cause_counts() {
        let source = || Error::new(Code::SourceTruncated, Stage::Source, "cut");
        let upload = || Error::new(Code::RegistryUnreachable, Stage::Upload, "reset");
        assert_eq!(source().most_upstream(upload()).code(), Code::SourceTruncated);
        assert_eq!(upload().most_upstream(source()).code(), Code::SourceTruncated);
    }

    #[test]
    fn a_cause_is_not_said_twice() {
        let inner = std::io::Error::other("connection refused");
        let error =
            Error::new(Code::SourceUnreachable, Stage::Source, "cannot connect: connection refused").caused_by(inner);
        assert_eq!(error.causes(), Vec::<String>::new());
    }
}
