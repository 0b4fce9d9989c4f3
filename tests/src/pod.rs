//! The program in a root of its own as a pod has it: read-only but for `/tmp` and the termination log, a user without rights,
//! and nothing of the environment but what the pod's definition says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::program;
use crate::registry::Registry;
use crate::scratch::Scratch;

/// What of this machine is there: libraries, certificates, names.
const SHARED: [&str; 7] = ["usr", "lib", "lib64", "bin", "sbin", "etc", "proc"];
const DEVICES: [&str; 4] = ["null", "zero", "random", "urandom"];
/// Binds `$1` together, lets nothing but what is bound be written, and becomes `$2` in it.
const BECOMES: &str = "set -e; root=$1; program=$2; shift 2; mount --bind \"$root\" \"$root\"; \
    for folder in usr lib lib64 bin sbin etc proc; do [ ! -e /$folder ] || mount --rbind /$folder \"$root/$folder\"; done; \
    for device in null zero random urandom; do mount --bind /dev/$device \"$root/dev/$device\"; done; \
    [ -z \"$DISK\" ] || mount --bind \"$DISK\" \"$root/dev/xvda\"; \
    mount --bind \"$PROGRAM\" \"$root/program/$program\"; mount --bind \"$root.tmp\" \"$root/tmp\"; \
    mount --bind \"$root.log\" \"$root/dev/termination-log\"; mount -o remount,bind,ro \"$root\"; \
    exec env -u PROGRAM -u DISK chroot --userspec=64535:64535 \"$root\" \"/program/$program\" \"$@\"";

/// A pod that has one container.
pub struct Pod {
    root: PathBuf,
    program: &'static str,
    device: String,
    variables: Vec<(String, String)>,
}

impl Pod {
    /// One that runs the program under that name.
    pub fn new(scratch: &Scratch, name: &str, program: &'static str) -> Self {
        let root = scratch.folder(name);
        let own = ["dev", "tmp", "program", "certs", "extraheaders", "proxycerts"];
        SHARED.iter().chain(&own).for_each(|folder| fs::create_dir_all(root.join(folder)).expect("a folder"));
        let files = DEVICES.iter().chain(&["xvda", "termination-log"]).map(|device| format!("dev/{device}"));
        for file in files.chain([format!("program/{program}")]) {
            fs::write(root.join(file), "").expect("a file");
        }
        let pod = Self { root, program, device: String::new(), variables: Vec::new() };
        fs::create_dir_all(pod.tmp()).expect("a folder");
        fs::set_permissions(pod.tmp(), fs::Permissions::from_mode(0o1777)).expect("permissions");
        pod.forget();
        pod
    }

    /// With these variables, in the place of those of the same names.
    #[must_use]
    pub fn with<V: AsRef<str>>(mut self, variables: &[(&str, V)]) -> Self {
        for (name, value) in variables {
            self.variables.retain(|(known, _)| known != name);
            self.variables.push(((*name).to_owned(), value.as_ref().to_owned()));
        }
        self
    }

    /// With that device as `/dev/xvda`.
    #[must_use]
    pub fn with_device(mut self, device: &str) -> Self {
        device.clone_into(&mut self.device);
        self
    }

    /// A file in it.
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// What is its `/tmp`.
    pub fn tmp(&self) -> PathBuf {
        beside(&self.root, "tmp")
    }

    /// The container.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", BECOMES, "sh"]).arg(&self.root).arg(self.program).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("PROGRAM", program::path());
        command.env("DISK", &self.device);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the container to its end.
    pub fn run(&self) -> program::Ran {
        self.forget();
        program::finish(&mut self.command(&[]), b"")
    }

    /// Forgets the message.
    pub fn forget(&self) {
        let log = beside(&self.root, "log");
        fs::write(&log, "").expect("the termination log");
        fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).expect("permissions");
    }

    /// The text that it left.
    pub fn said(&self) -> String {
        fs::read_to_string(beside(&self.root, "log")).expect("the termination log")
    }

    /// The message that it left.
    pub fn message(&self) -> Value {
        let said = self.said();
        serde_json::from_str(&said).unwrap_or_else(|why| panic!("{why}: `{said}`"))
    }

    /// The words of the error that it left, and nothing else.
    pub fn error(&self) -> String {
        let message = self.message();
        let fields: Vec<&String> = message.as_object().expect("an object").keys().collect();
        assert_eq!(fields, ["error-message"], "{message}");
        message["error-message"].as_str().expect("words").to_owned()
    }
}

/// A pod of `dvcr-importer`, from that URL into a plain registry that the environment says may be one.
pub fn importing(scratch: &Scratch, registry: &Registry, url: &str) -> Pod {
    Pod::new(scratch, "pod", "dvcr-importer").with(&[
        ("OWNER_UID", "1-2-3"),
        ("IMPORTER_SOURCE", "http"),
        ("IMPORTER_ENDPOINT", url),
        ("IMPORTER_DESTINATION_ENDPOINT", &format!("{}/vm:1", registry.host())),
        ("DESTINATION_INSECURE_TLS", "true"),
    ])
}

fn beside(root: &Path, what: &str) -> PathBuf {
    PathBuf::from(format!("{}.{what}", root.display()))
}
