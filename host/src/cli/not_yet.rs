//! What the contract has and this version does not: refused as unsupported, never accepted and ignored.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Commands.
const COMMANDS: &[&str] = &["delete"];

/// The name of what a parse error is about, if it is part of the contract.
pub(super) fn named_in(why: &clap::Error) -> Option<String> {
    let text = |kind| match why.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    match why.kind() {
        ErrorKind::InvalidSubcommand => {
            text(ContextKind::InvalidSubcommand).filter(|name| COMMANDS.contains(&name.as_str()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::Args;
    use super::*;

    fn named(arguments: &[&str]) -> Option<String> {
        named_in(&Args::try_parse_from(arguments).unwrap_err())
    }

    #[test]
    fn what_the_contract_has_is_refused_by_name() {
        for command in COMMANDS {
            assert_eq!(named(&["longshore", *command]).as_deref(), Some(*command));
        }
    }

    #[test]
    fn what_it_does_not_have_is_only_wrong() {
        assert_eq!(named(&["longshore", "import", "a", "b", "--frobnicate"]), None);
        assert_eq!(named(&["longshore", "frobnicate"]), None);
        assert_eq!(named(&["longshore", "import", "a"]), None);
    }
}
