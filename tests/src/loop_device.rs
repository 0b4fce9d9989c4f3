//! Block devices.

use std::path::Path;
use std::process::Command;

use crate::scratch::run;

/// A loop device over a file, detached when it is dropped. Needs root, or sudo without a password.
pub struct Loop(String);

impl Loop {
    /// Over `file`; what everybody may do with it is chmod's, `r` or `rw`.
    pub fn attach(file: &Path, everybody: &str) -> Self {
        let shown = run(as_root("losetup").args(["--find", "--show"]).arg(file));
        let device = Self(shown.trim().to_owned());
        // For the program, which needs no other privileges.
        run(as_root("chmod").args([&format!("a+{everybody}"), &device.0]));
        device
    }

    /// Its path.
    pub fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = as_root("losetup").args(["--detach", &self.0]).status();
    }
}

/// That program as root: by sudo, if this is not root.
pub fn as_root(program: &str) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", program]);
        sudo
    };
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}
