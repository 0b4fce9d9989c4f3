//! The programs of the system that this one replaces, under their names: a pod that ran one of them runs this one with the same
//! environment, files, ports and exit behaviour. `docs/drop-in.md` has all of it, and what is not as it was.
//!
//! | module | what it is |
//! |---|---|
//! | `environment` | the variables, read once |
//! | `policy` | the policy that they imply, and what the environment adds to it |
//! | `destination` | the registry, its credentials, and whether it speaks TLS |
//! | `image` | what the image is like |
//! | `importer`, `source` | `dvcr-importer`, and where its disk is |
//! | `uploader`, `listener` | `dvcr-uploader`, and what it listens with |
//! | `again` | when an import is begun once more |
//! | `message` | the termination message |
//! | `cleaner` | `dvcr-cleaner`, on the storage of a registry |

mod again;
mod cleaner;
mod destination;
mod environment;
mod image;
mod importer;
mod listener;
mod message;
mod policy;
mod source;
mod uploader;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

pub(super) use cleaner::run as clean;
pub(super) use importer::run as import;
pub(super) use policy::built_in as built_in_policy;
pub(super) use uploader::run as upload;

use super::messages;
use crate::error::{Code, Error, Stage};
use crate::policy::Policy;
use crate::serve::{Monitor, MonitorIdentity, MonitorPlan, Watched};
use message::Message;

/// The names, of commands and of programs.
const NAMES: [&str; 3] = ["dvcr-cleaner", IMPORTER, UPLOADER];
const IMPORTER: &str = "dvcr-importer";
const UPLOADER: &str = "dvcr-uploader";

/// Where the runtime of a pod looks for a container's last words.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// Where a pod has room for what must be kept on its way.
const SPOOL: &str = "/tmp";
/// Every address of the pod.
const EVERYWHERE: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
/// Where the metrics are.
const METRICS_PORT: u16 = 8443;
/// The common name of the certificate that they are served with.
const METRICS_NAME: &str = "cloner_target";

/// The arguments as our parser knows them: under one of the names it is that command, and logging is louder by a flag of ours.
pub(super) fn arguments(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let name = |argument: Option<&OsString>| {
        let name = Path::new(argument?).file_name()?.to_str()?.to_owned();
        NAMES.contains(&&*name).then_some(name)
    };
    if let Some(name) = name(arguments.first()) {
        // What compiles components is this program too, whatever its file is called; that comes before.
        arguments.insert(1, name.into());
    }
    if leaves_message(&arguments) { with_level(arguments) } else { arguments }
}

/// Leaves the message of a command line that is none.
pub(super) fn refused(arguments: &[OsString], why: &clap::Error) {
    if !why.use_stderr() || !leaves_message(arguments) {
        return;
    }
    let text = why.to_string();
    let words = text.lines().next().unwrap_or_default();
    // There is nobody else to tell; standard error has it too.
    let _ = Message::failed(&usage(words.strip_prefix("error: ").unwrap_or(words))).leave();
}

/// Whether it is one of those with a termination message.
fn leaves_message(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|argument| [IMPORTER, UPLOADER].iter().any(|name| *argument == *name))
}

/// `-v=N`, `-v N` and the same with two dashes as `-v` for all but 0: what is logged beyond that is not what it was.
fn with_level(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut all = Vec::with_capacity(arguments.len());
    let mut rest = arguments.into_iter().peekable();
    let loud = |level: &str| level.parse::<u64>().ok().map(|level| level > 0);
    while let Some(argument) = rest.next() {
        let text = argument.to_str().unwrap_or_default();
        let level = match text.strip_prefix("--v").or_else(|| text.strip_prefix("-v")) {
            Some("") => {
                rest.next_if(|next| next.to_str().and_then(loud).is_some()).and_then(|next| loud(next.to_str()?))
            }
            Some(behind) => behind.strip_prefix('=').and_then(loud),
            None => None,
        };
        match level {
            Some(true) => all.push("-v".into()),
            Some(false) => {}
            None if text == "--v" => all.push("-v".into()),
            None => all.push(argument),
        }
    }
    all
}

/// Where both programs tell how far they are. An import that nobody can watch is an import all the same.
fn monitor(owner: Option<String>, watched: &Watched, policy: &Policy) -> Option<Monitor> {
    let plan = MonitorPlan {
        at: SocketAddr::new(EVERYWHERE, METRICS_PORT),
        identity: MonitorIdentity::SelfSigned(METRICS_NAME),
        watched: watched.clone(),
        owner: Some(owner.unwrap_or_default()),
    };
    Monitor::start(plan, policy)
        .map_err(|error| messages::line(&messages::harmless(&format!("warning: there are no metrics: {error}"))))
        .ok()
}

fn usage(message: impl Into<String>) -> Error {
    Error::new(Code::Usage, Stage::Plan, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(typed: &[&str]) -> Vec<String> {
        let all = arguments(typed.iter().map(Into::into).collect());
        all.into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn a_name_of_the_program_is_its_command() {
        for path in ["dvcr-uploader", "/usr/local/bin/dvcr-uploader", "./dvcr-uploader"] {
            assert_eq!(read(&[path, "--checksums", "x"])[1..], ["dvcr-uploader", "--checksums", "x"], "{path}");
        }
        assert_eq!(read(&["/x/dvcr-cleaner", "gc", "run"])[1..], ["dvcr-cleaner", "gc", "run"]);
        assert_eq!(read(&["longshore", "import", "-v", "1"]), ["longshore", "import", "-v", "1"]);
        assert_eq!(read(&["dvcr", "x"]), ["dvcr", "x"]);
        assert!(read(&[]).is_empty());
    }

    #[test]
    fn the_level_of_the_log_is_understood_however_it_is_written() {
        let level = |typed: &[&str]| read(&[&["dvcr-importer"][..], typed].concat())[2..].to_vec();
        for loud in [&["-v=3"][..], &["-v", "3"], &["--v=3"], &["--v", "3"], &["-v"], &["--v"]] {
            assert_eq!(level(loud), ["-v"], "{loud:?}");
        }
        for quiet in [&["-v=0"][..], &["--v", "0"]] {
            assert!(level(quiet).is_empty(), "{quiet:?}");
        }
        assert_eq!(level(&["-v=x"]), ["-v=x"], "which the parser refuses");
    }
}
