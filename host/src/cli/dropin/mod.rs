//! The programs of the system that this one replaces, under their names.

mod cleaner;

use std::ffi::OsString;
use std::path::Path;

pub(super) use cleaner::run as clean;

/// The names, of commands and of programs.
const NAMES: [&str; 1] = ["dvcr-cleaner"];

/// The arguments as our parser knows them: a program of one of the names is the command of that name.
pub(super) fn arguments(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments.first().and_then(|first| Path::new(first).file_name()?.to_str().map(str::to_owned));
    if let Some(name) = name.filter(|name| NAMES.contains(&&**name)) {
        arguments.insert(1, name.into());
    }
    arguments
}
