//! Parses, runs, exits.

use std::process::ExitCode;

fn main() -> ExitCode {
    longshore::cli::main(std::env::args_os())
}
