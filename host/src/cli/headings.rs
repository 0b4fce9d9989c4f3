//! The command line as help, manual and completions show it: flags in groups, since a list of thirty is no help.

use clap::{Arg, Command, CommandFactory as _};

use super::args::Args;

/// Headings, and the flags under them. A flag that is nowhere stands under clap's own.
const HEADINGS: [(&str, &[&str]); 6] = [
    (
        "Reading the disk",
        &[
            "size",
            "source",
            "source-option",
            "source-header-file",
            "source-credentials",
            "source-connections",
            "limit-rate",
            "filter",
            "probe",
            "spool",
            "spool-max",
            "checkpoint",
        ],
    ),
    ("What the disk must be", &["checksum", "checksum-file", "format"]),
    (
        "The image",
        &["name", "tag", "label", "annotation", "media-types", "owner", "platform", "framing", "compressor", "copy"],
    ),
    ("Policy and trust", &["policy", "ca", "cert", "key", "auth-file", "plain-http"]),
    (
        "Listening",
        &[
            "listen",
            "health-listen",
            "tls-cert",
            "tls-key",
            "without-tls",
            "client-ca",
            "client-name",
            "token-file",
            "anonymous",
            "uploads",
            "client-tags",
            "max-size",
            "drain",
            "once",
        ],
    ),
    (
        "What is told",
        &["report", "reports", "progress", "progress-fd", "json", "metrics", "metrics-cert", "metrics-key"],
    ),
];

/// The command line.
pub(super) fn command() -> Command {
    let names: Vec<String> = Args::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.into_iter().fold(Args::command(), |command, name| {
        command.mut_subcommand(name, |subcommand| subcommand.mut_args(under_heading))
    })
}

fn under_heading(arg: Arg) -> Arg {
    let of = |arg: &Arg| {
        let long = arg.get_long()?;
        HEADINGS.iter().find(|(_, flags)| flags.contains(&long)).map(|(heading, _)| *heading)
    };
    match of(&arg) {
        Some(heading) if arg.get_help_heading().is_none() => arg.help_heading(heading),
        _ => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_has_its_flags_in_groups() {
        let mut command = command();
        command.clone().debug_assert();
        let help = command.find_subcommand_mut("import").unwrap().render_long_help().to_string();
        let flags = ["--size", "--checksum ", "--tag", "--policy", "--listen", "--report"];
        for ((heading, _), flag) in [0, 1, 2, 3, 5].map(|at| (HEADINGS[at], flags[at])) {
            let (_, section) =
                help.split_once(&format!("\n{heading}:\n")).unwrap_or_else(|| panic!("{heading}: {help}"));
            let end = section.find(":\n      -").unwrap_or(section.len());
            assert!(section[..end].contains(&format!("      {flag}")), "{flag} is not under {heading}: {help}");
        }
    }

    #[test]
    fn no_flag_is_in_two_groups() {
        let mut all: Vec<_> = HEADINGS.iter().flat_map(|(_, flags)| flags.iter()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
