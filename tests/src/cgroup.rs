//! A cgroup with a CPU quota, for one process: version 1 or 2 as this machine has them, or mounted for the purpose in a
//! mount namespace of its own. Needs root; where no quota can be had the test fails.

use std::fs;
use std::process::{Command, id};
use std::sync::atomic::{AtomicU32, Ordering};

/// Makes the group, runs the command in it, and removes the group. `$mount`, `$version` and `$group` come from outside.
const SCRIPT: &str = r#"
set -e
if [ "$version" = private ]; then
    version=1
    mkdir -p "$mount"
    mount -t cgroup -o cpu none "$mount" || { version=2; mount -t cgroup2 none "$mount"; }
fi
if [ "$version" = 2 ]; then echo +cpu > "$mount/cgroup.subtree_control"; fi
mkdir "$mount/$group"
if [ "$version" = 2 ]; then
    echo "$quota 100000" > "$mount/$group/cpu.max"
else
    echo 100000 > "$mount/$group/cpu.cfs_period_us"
    echo "$quota" > "$mount/$group/cpu.cfs_quota_us"
fi
code=0
group="$mount/$group" sh -c 'echo $$ > "$group/cgroup.procs"; exec "$@"' sh "$@" || code=$?
rmdir "$mount/$group"
exit $code
"#;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// `command`, in a cgroup that may use so many thousandths of a CPU. Nobody else is in it.
pub fn with_quota(command: &Command, thousandths: u32) -> Command {
    let (version, mount) = hierarchy(&fs::read_to_string("/proc/self/mountinfo").expect("mounts"));
    let mut limited = match version {
        "private" => {
            let mut limited = Command::new("unshare");
            limited.args(["--mount", "sh"]);
            limited
        }
        _ => Command::new("sh"),
    };
    let group = format!("longshore-test-{}-{}", id(), NEXT.fetch_add(1, Ordering::Relaxed));
    limited.args(["-c", SCRIPT, "sh"]).arg(command.get_program()).args(command.get_args());
    limited.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/nonexistent");
    limited.env("version", version).env("mount", mount).env("group", group);
    limited.env("quota", (thousandths * 100).to_string());
    limited
}

/// Where quotas can be set: version 1's CPU controller, or version 2 if it has that controller.
fn hierarchy(mounts: &str) -> (&'static str, String) {
    let mut second = None;
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let point = before.split(' ').nth(4).expect("a mount point").to_owned();
        let mut after = after.split(' ');
        let (kind, options) = (after.next(), after.nth(1).unwrap_or_default());
        if kind == Some("cgroup") && options.split(',').any(|option| option == "cpu") {
            return ("1", point);
        }
        let controllers = fs::read_to_string(format!("{point}/cgroup.controllers")).unwrap_or_default();
        if kind == Some("cgroup2") && controllers.split_whitespace().any(|controller| controller == "cpu") {
            second = Some(point);
        }
    }
    match second {
        Some(point) => ("2", point),
        None => ("private", std::env::temp_dir().join(format!("longshore-cgroup-{}", id())).display().to_string()),
    }
}
