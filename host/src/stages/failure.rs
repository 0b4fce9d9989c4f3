//! A component's failure as an error of ours, and the other way round.

use crate::bindings::Failure;
use crate::engine::{Kind, cleaned};
use crate::error::{Code, Error, Retryable};

/// The most bytes of a failure's words.
const MAX_WORDS: usize = 4096;

/// The words of a failure, cut and cleaned.
pub(super) fn words(failure: &Failure) -> String {
    let (Failure::NotFound(text)
    | Failure::Denied(text)
    | Failure::Changed(text)
    | Failure::Invalid(text)
    | Failure::Unsupported(text)
    | Failure::Gone(text)
    | Failure::Limit(text)
    | Failure::Io(text)
    | Failure::Other(text)) = failure;
    cleaned(text, MAX_WORDS)
}

/// What a failure of that kind of stage means for the run.
pub(super) fn error(failure: &Failure, kind: Kind, name: &str) -> Error {
    let code = match (kind, failure) {
        (Kind::Source, Failure::NotFound(_)) => Code::SourceNotFound,
        (Kind::Source, Failure::Changed(_)) => Code::SourceChanged,
        (Kind::Source, Failure::Invalid(_)) => Code::SourceInvalid,
        (Kind::Source, _) => Code::SourceFailed,
        (Kind::Filter | Kind::Probe, Failure::Invalid(_) | Failure::Limit(_)) => Code::DiskInvalid,
        _ => Code::ComponentFailed,
    };
    let error = Error::new(code, kind.stage(), format!("{name}: {}", words(failure)));
    match failure {
        // Of what it cannot do it says the same the next time.
        Failure::Unsupported(_) | Failure::Denied(_) | Failure::Limit(_) => error.retryable_as(Retryable::No),
        _ => error,
    }
}

/// What a component is told of an error of the host's: the class and the words, which hold no secrets.
pub(super) fn failure(error: &Error) -> Failure {
    let words = error.to_string();
    match error.code() {
        Code::SourceNotFound => Failure::NotFound(words),
        Code::SourceDenied | Code::EgressDenied | Code::PlainHttpDenied | Code::TlsHandshake | Code::TlsCertificate => {
            Failure::Denied(words)
        }
        Code::SourceChanged => Failure::Changed(words),
        Code::SourceInvalid | Code::SourceLengthMismatch | Code::ChecksumMismatch => Failure::Invalid(words),
        Code::Unsupported => Failure::Unsupported(words),
        Code::Internal => Failure::Other(words),
        _ => Failure::Io(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_follows_stage_and_case() {
        let exit = |failure: Failure, kind| error(&failure, kind, "x").code().exit();
        let text = || "why".to_owned();
        for (failure, source, probe) in [
            (Failure::NotFound(text()), 10, 14),
            (Failure::Denied(text()), 10, 14),
            (Failure::Changed(text()), 11, 14),
            (Failure::Invalid(text()), 11, 11),
            (Failure::Unsupported(text()), 10, 14),
            (Failure::Gone(text()), 10, 14),
            (Failure::Limit(text()), 10, 11),
            (Failure::Io(text()), 10, 14),
            (Failure::Other(text()), 10, 14),
        ] {
            assert_eq!(exit(failure.clone(), Kind::Source), source, "{failure:?}");
            assert_eq!(exit(failure.clone(), Kind::Probe), probe, "{failure:?}");
            assert_eq!(exit(failure.clone(), Kind::Filter), probe, "{failure:?}");
            assert_eq!(exit(failure.clone(), Kind::Framing), 14, "{failure:?}");
            assert_eq!(exit(failure.clone(), Kind::Compressor), 14, "{failure:?}");
        }
    }

    #[test]
    fn words_are_cut_and_cleaned() {
        assert_eq!(words(&Failure::Io("a\nb\u{1b}[31m".to_owned())), "a b [31m");
        assert!(words(&Failure::Io("é".repeat(5000))).len() <= MAX_WORDS);
    }
}
