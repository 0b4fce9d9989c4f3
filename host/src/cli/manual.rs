//! `completions` and `man`: made from the definition of the command line, so that they cannot disagree with it.

use clap_complete::Shell;
use clap_mangen::Man;

use super::{env, headings, messages};
use crate::error::{Code, Error, Result, Stage};

/// Writes what a shell needs to complete our commands and flags.
pub(super) fn completions(shell: Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut headings::command(), "longshore", &mut text);
    messages::bytes(&text)
}

/// Writes the page of the program, or of the command with that name.
pub(super) fn man(command: &[String]) -> Result<()> {
    messages::bytes(page(command)?.as_bytes())
}

fn page(command: &[String]) -> Result<String> {
    let mut root = headings::command();
    root.build();
    let mut of = &root;
    for name in command {
        of = of.find_subcommand(name).ok_or_else(|| {
            let message = format!("there is no command `{}` to show a page of", command.join(" "));
            Error::new(Code::Usage, Stage::Plan, message)
        })?;
    }
    // The name behind `man` and in its index: longshore-import(1).
    let name = of.get_bin_name().unwrap_or("longshore").replace(' ', "-");
    let page = Man::new(of.clone())
        .title(name.to_uppercase())
        .source(format!("longshore {}", env!("CARGO_PKG_VERSION")))
        .manual("longshore");
    let mut text = Vec::new();
    let rendered = page
        .render_title(&mut text)
        .and_then(|()| page.render_name_section(&mut text))
        .and_then(|()| page.render_synopsis_section(&mut text))
        .and_then(|()| page.render_description_section(&mut text))
        .and_then(|()| page.render_options_section(&mut text))
        .and_then(|()| if of.has_subcommands() { page.render_subcommands_section(&mut text) } else { Ok(()) });
    rendered.map_err(|why| Error::internal(Stage::Plan, format!("the page cannot be made: {why}")))?;
    let text = String::from_utf8(text).map_err(|why| Error::internal(Stage::Plan, why.to_string()))?;
    Ok(text + &exit_status() + &environment())
}

/// Exit codes with the error codes that end in each.
fn exit_status() -> String {
    let mut section = ".SH \"EXIT STATUS\"\n.TP\n0\nIt is done.\n".to_owned();
    let mut last = None;
    for code in Code::ALL {
        if last.replace(code.exit()) != Some(code.exit()) {
            section.push_str(&format!(".TP\n{}\n", code.exit()));
        } else {
            section.push_str(".br\n");
        }
        section.push_str(&format!("{}: {}\n", escaped(code.as_str()), escaped(code.meaning())));
    }
    section
}

fn environment() -> String {
    let mut section = ".SH ENVIRONMENT\n".to_owned();
    for variable in &env::VARIABLES {
        section.push_str(&format!(".TP\n{}\n{}\n", escaped(variable.name), escaped(variable.meaning)));
    }
    section
}

/// Text that roff takes literally: no escapes, no minus that becomes a hyphen, no request at the start of a line.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_every_flag_exit_code_and_variable() {
        let mut root = headings::command();
        root.build();
        let import = root.find_subcommand("import").unwrap();
        let page = page(&["import".to_owned()]).unwrap();
        for flag in import.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&format!("\\-\\-{}", escaped(flag))), "the page lacks --{flag}");
        }
        for code in Code::ALL {
            assert!(page.contains(&escaped(code.as_str())), "the page lacks {}", code.as_str());
        }
        for variable in &env::VARIABLES {
            assert!(page.contains(&escaped(variable.name)), "the page lacks {}", variable.name);
        }
    }

    #[test]
    fn every_command_has_a_page_and_nothing_else_has() {
        for command in [&[][..], &["import"], &["component"], &["component", "list"], &["man"]] {
            let command: Vec<String> = command.iter().map(ToString::to_string).collect();
            let page = page(&command).unwrap();
            let name = ["longshore".to_owned()].into_iter().chain(command).collect::<Vec<_>>().join("-");
            assert!(page.contains(&format!(".TH {} ", name.to_uppercase())), "{page}");
        }
        assert_eq!(page(&["frobnicate".to_owned()]).unwrap_err().code(), Code::Usage);
    }
}
