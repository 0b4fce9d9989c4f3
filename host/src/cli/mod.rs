//! The command line: arguments as typed, the plan as resolved, what the user is told.
//!
//! Standard output carries data only; progress and messages go to standard error.

mod alone;
mod args;
mod auth;
mod certificates;
mod color;
mod component;
mod copying;
mod credential_helper;
mod delete;
mod doctor;
mod dropin;
mod env;
mod export;
mod gc;
mod headings;
mod image;
mod import;
mod inspect;
mod list;
mod locate;
mod manual;
mod messages;
mod plan;
mod policy;
mod probe;
mod progress;
mod serve;
mod signals;
mod size;
mod source_fields;

use std::ffi::OsString;
use std::process::ExitCode;

use args::{Args, Command};
use clap::FromArgMatches as _;
use color::ColorWhen;

use crate::error::Code;
use crate::pipeline;

/// Runs the program with these arguments, the first of which is its own name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(done) = compile_child(&arguments) {
        return done;
    }
    let arguments = dropin::arguments(arguments);
    let parsed = headings::command()
        .long_version(component::long_version())
        .try_get_matches_from(&arguments)
        .and_then(|matches| Args::from_arg_matches(&matches));
    let args = match parsed {
        Ok(args) => args,
        Err(why) => {
            dropin::refused(&arguments, &why);
            return refuse(&why);
        }
    };
    let (verbosity, color) = (args.verbosity(), args.color.decide());
    let done = match args.command {
        Command::Import(import) => import::run(&import, verbosity, color),
        Command::Export(export) => export::run(&export, verbosity, color),
        Command::Serve(serve) => {
            messages::start_log(verbosity);
            serve::run(&serve, verbosity, color)
        }
        Command::Probe(probe) => {
            messages::start_log(verbosity);
            probe::run(&probe)
        }
        Command::Policy { command } => {
            messages::start_log(verbosity);
            policy::run(&command, verbosity)
        }
        Command::Doctor(doctor) => {
            messages::start_log(verbosity);
            doctor::run(&doctor)
        }
        Command::List(list) => {
            messages::start_log(verbosity);
            list::run(&list)
        }
        Command::Delete(delete) => {
            messages::start_log(verbosity);
            delete::run(&delete)
        }
        Command::DvcrCleaner(cleaner) => return cleaned(&cleaner),
        Command::Gc(gc) => {
            messages::start_log(verbosity);
            gc::run(&gc)
        }
        Command::Inspect(inspect) => {
            messages::start_log(verbosity);
            inspect::run(&inspect)
        }
        Command::Component { command } => {
            messages::start_log(verbosity);
            component::run(&command)
        }
        Command::DvcrImporter(args::DvcrImporter {}) => {
            messages::start_log(verbosity);
            dropin::import(verbosity, color)
        }
        Command::DvcrUploader(uploader) => {
            messages::start_log(verbosity);
            dropin::upload(&uploader, verbosity)
        }
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { command } => manual::man(&command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            messages::error(&error, color);
            ExitCode::from(error.code().exit())
        }
    }
}

/// `dvcr-cleaner` says on standard output what went wrong, and ends with 1 then.
fn cleaned(cleaner: &args::Cleaner) -> ExitCode {
    match dropin::clean(cleaner) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nobody left to tell.
            let _ = messages::data(&messages::harmless(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// This program as the child that compiles a stranger's component.
fn compile_child(arguments: &[OsString]) -> Option<ExitCode> {
    let rest: Vec<String> = arguments.iter().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    match pipeline::compile_child(&rest)? {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(words) => {
            messages::line(&words);
            Some(ExitCode::FAILURE)
        }
    }
}

/// Help and version are no errors.
fn refuse(why: &clap::Error) -> ExitCode {
    if !why.use_stderr() {
        return match messages::bytes(why.to_string().as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                messages::error(&error, ColorWhen::Auto.decide());
                ExitCode::from(error.code().exit())
            }
        };
    }
    messages::usage(&why.to_string(), ColorWhen::Auto.decide());
    ExitCode::from(Code::Usage.exit())
}
