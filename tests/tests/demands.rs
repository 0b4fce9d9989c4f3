//! What a policy demands of a disk, and what `--format` expects of it: refused before it is sent, with the line that says so.

use std::fs;
use std::process::Command;

use longshore_tests::layers::assert_layout_empty;
use longshore_tests::program::{Ran, import, import_from, probe};
use longshore_tests::registry::{Registry, Setup};
use longshore_tests::scratch::{Scratch, qcow2, raw, run};
use longshore_tests::wrapped::piped;
use probe_disk::samples;

const DISK: usize = 300_000;

/// Disks, a registry without TLS, and room for policies.
struct Stage {
    scratch: Scratch,
    registry: Registry,
}

impl Stage {
    fn new() -> Self {
        let scratch = Scratch::new();
        let registry = Registry::start(&scratch, "registry", Setup::default());
        raw(&scratch.path("disk.raw"), DISK);
        Self { scratch, registry }
    }

    fn disk(&self) -> String {
        self.scratch.text("disk.raw")
    }

    fn layout(&self) -> String {
        format!("oci:{}", self.scratch.text("layout"))
    }

    /// A document that lets the registry be spoken to without TLS, and then whatever follows.
    fn policy(&self, more: &str) -> String {
        let text = format!(
            "schema = \"longshore.policy/v1\"\n[egress]\nplain-http = [\"{}\"]\n{more}\n",
            self.registry.host()
        );
        fs::write(self.scratch.path("policy.toml"), text).unwrap();
        self.scratch.text("policy.toml")
    }

    /// Imports a disk into the registry under a policy.
    fn under(&self, policy: &str, disk: &str, more: &[&str]) -> Ran {
        let policy = self.policy(policy);
        import([&[disk, &*self.registry.reference("vm"), "--policy", &*policy], more].concat())
    }
}

fn sum(tool: &str, path: &str) -> String {
    run(Command::new(tool).arg(path)).split_whitespace().next().unwrap().to_owned()
}

#[test]
fn a_checksum_is_demanded_before_anything_is_touched() {
    let stage = Stage::new();
    let disk = stage.disk();
    let demand = "[require]\nchecksum = [\"sha256\", \"streebog256\"]";
    let says = ["`require.checksum` (", "policy.toml:5) accepts: sha256, streebog256", "--checksum ALGO:HEX"];
    stage.under(demand, &disk, &[]).failed(13, "checksum-required", &says).golden("checksum-demanded");
    let md5 = format!("md5:{}", sum("md5sum", &disk));
    stage.under(demand, &disk, &["--checksum", &md5]).failed(13, "checksum-required", &says);
    // A file that has only another kind of checksum is found out as soon as it is read.
    let md5_file = stage.scratch.text("MD5SUMS");
    fs::write(&md5_file, format!("{}  disk.raw\n", sum("md5sum", &disk))).unwrap();
    stage.under(demand, &disk, &["--checksum-file", &md5_file]).failed(13, "checksum-required", &says);
    stage.registry.assert_empty();

    let sha256 = sum("sha256sum", &disk);
    stage.under(demand, &disk, &["--checksum", &md5, "--checksum", &format!("sha256:{sha256}")]).done();
    let sha256_file = stage.scratch.text("SHA256SUMS");
    fs::write(&sha256_file, format!("{sha256}  disk.raw\n")).unwrap();
    stage.under(demand, &disk, &["--checksum-file", &sha256_file, "--tag", "file"]).done();
    assert!(stage.registry.has_tag("vm", "file"));
}

#[test]
fn formats_sizes_and_hazards_are_those_of_the_policy() {
    let stage = Stage::new();
    let disk = stage.disk();
    let vm = stage.scratch.text("disk.qcow2");
    qcow2(&stage.scratch.path("disk.qcow2"));
    // Marked as not closed cleanly, which a probe warns about and lets pass.
    let dirty = stage.scratch.text("dirty.qcow2");
    let mut bytes = fs::read(&vm).unwrap();
    bytes[79] |= 1;
    fs::write(&dirty, bytes).unwrap();
    let refused: &[(&str, &str, &str, &str, &[&str])] = &[
        (
            "formats = [\"qcow2\"]",
            &disk,
            "disk-format",
            "golden:disk-format-refused",
            &["the disk is raw", "accepts qcow2"],
        ),
        ("formats = [\"raw\", \"iso9660\"]", &vm, "disk-format", "", &["the disk is qcow2", "accepts raw, iso9660"]),
        (
            "max-size = \"299999\"",
            &disk,
            "disk-too-large",
            "golden:disk-too-large",
            &["300000 bytes", "at most 299999"],
        ),
        ("max-size = \"1MiB\"", &vm, "disk-too-large", "", &["`require.max-size` (", "policy.toml:5)", "1048576"]),
        (
            "max-virtual-size = \"32MiB\"",
            &vm,
            "disk-too-large",
            "golden:disk-virtual-size-too-large",
            &["67108864 bytes"],
        ),
    ];
    for (demand, disk, code, golden, says) in refused {
        stage.under(&format!("[require]\n{demand}"), disk, &[]).failed(11, code, says);
        let policy = stage.scratch.text("policy.toml");
        let ran = import([disk, &*stage.layout(), "--policy", &policy]).failed(11, code, says);
        if !golden.is_empty() {
            ran.golden(golden);
        }
        let looked = probe([*disk, "--policy", &policy, "--json"]).failed(11, code, says);
        assert_eq!(looked.report()["outcome"], "refused");
    }
    stage.registry.assert_empty();
    let all = "[require]\nformats = [\"raw\", \"qcow2\"]\nmax-size = \"64MiB\"\nmax-virtual-size = \"64MiB\"\n\
               refused-hazards = [\"no-such-hazard\"]";
    stage.under(all, &disk, &["--tag", "raw"]).done();
    stage.under(all, &vm, &["--tag", "qcow2"]).done();

    for named in ["qcow2-dirty", "*"] {
        let says = ["not closed cleanly", "(qcow2-dirty)", "`require.refused-hazards` (", "policy.toml:5)"];
        let demand = format!("[require]\nrefused-hazards = [\"{named}\"]");
        stage.under(&demand, &dirty, &[]).failed(11, "disk-refused", &says);
    }
    stage.under("", &dirty, &["--tag", "dirty"]).done();

    // What the probe wants refused passes where the policy accepts it by its name, and is told.
    let overlay = stage.scratch.text("overlay.qcow2");
    run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", "-b", &vm, "-F", "qcow2", &overlay]));
    let accepted = "[require]\naccepted-hazards = [\"wrapped\", \"qcow2-backing-file\"]";
    let ran = stage.under(accepted, &overlay, &["--tag", "overlay"]).done();
    assert!(ran.stderr.contains("backing file `"), "{}", ran.stderr);
    let other = "[require]\naccepted-hazards = [\"wrapped\"]";
    stage.under(other, &overlay, &[]).failed(11, "disk-refused", &["qcow2-backing-file"]);
    let policy = stage.policy(accepted);
    assert_eq!(probe([&*overlay, "--policy", &policy, "--json"]).done().report()["outcome"], "accepted");
}

#[test]
fn the_expected_format_is_held_against_the_first_bytes() {
    let stage = Stage::new();
    let disk = stage.disk();
    let (to, plain) = (stage.registry.reference("vm"), stage.registry.host());
    let expecting = |disk: &str, format: &str, input: &[u8], more: &[&str]| {
        import_from([&[disk, &*to, "--plain-http", &*plain, "--format", format], more].concat(), input)
    };
    let says = ["the disk is raw, expected qcow2 as --format says"];
    let ran = expecting(&disk, "qcow2", b"", &["--report", "-"]).failed(11, "disk-format", &says);
    assert_eq!(ran.report()["disk"]["format"], "raw", "the report has what was found");
    let ran = import([&*disk, &*stage.layout(), "--format", "qcow2"]).failed(11, "disk-format", &says);
    ran.golden("disk-format-expected-otherwise");
    // Refused as soon as the probe knows, however much would still come.
    let long = fs::read(&disk).unwrap().repeat(100);
    let size = long.len().to_string();
    let ran = expecting("-", "qcow2", &long, &["--size", &size, "--report", "-"]).failed(11, "disk-format", &says);
    let received = ran.report()["transfer"]["bytes_received"].as_u64().unwrap();
    assert!(received < long.len() as u64 / 2, "{received} of {size} bytes were read");
    expecting(&disk, "vhdz", b"", &[]).failed(2, "usage", &["`probe-disk` knows no format `vhdz`: it knows ", "qcow2"]);
    expecting(&disk, "QCOW2", b"", &[]).failed(2, "usage", &["--format: `QCOW2` is not 1 to 64 characters"]);
    stage.registry.assert_empty();
    expecting(&disk, "raw", b"", &[]).done();
}

#[test]
fn another_format_ends_an_import_at_its_head() {
    /// What is sent, and how much of it may have been read when the import ends: the head, and what stood in a pipe.
    const LONG: usize = 64 << 20;
    const READ: u64 = 1 << 20;
    let scratch = Scratch::new();
    let to = format!("oci:{}", scratch.text("layout"));
    let mut broken = vec![0; 8192];
    broken[0x40..0x44].copy_from_slice(b"\x7f\x10\xda\xbe");
    let mut overlay = samples::qcow();
    // Its backing file's name lies far behind.
    overlay[8..16].copy_from_slice(&(60_u64 << 20).to_be_bytes());
    overlay[16..20].copy_from_slice(&5_u32.to_be_bytes());
    for (name, image) in [
        ("gzip", piped("gzip", b"disk")),
        ("xz", piped("xz", b"disk")),
        ("zstd", piped("zstd -q", b"disk")),
        ("bzip2", piped("bzip2", b"disk")),
        ("vmdk", samples::vmdk_stream()[..65_536].to_vec()),
        ("vpc", samples::vpc()),
        ("vhdx", samples::vhdx(2)),
        ("qcow", overlay),
        ("vdi", broken),
        ("iso9660", samples::iso()),
    ] {
        let mut disk = image;
        disk.resize(LONG, 0xA5);
        let size = LONG.to_string();
        let ran = import_from(["-", &*to, "--size", &size, "--format", "raw", "--report", "-"], &disk);
        let says = format!("the disk is {name}, expected raw as --format says");
        let report = ran.failed(11, "disk-format", &[&says]).report();
        let received = report["transfer"]["bytes_received"].as_u64().unwrap();
        assert!(received <= READ, "{name}: {received} bytes");
        assert_layout_empty(&scratch.path("layout"));
    }
}

#[test]
fn uploads_go_over_tls_where_the_policy_says_so() {
    let stage = Stage::new();
    let demand = "[require]\nencrypted-uploads = true\n[flags]\nallow = [\"--plain-http\"]";
    let says = ["plain HTTP to http://127.0.0.1:", "`require.encrypted-uploads` (", "policy.toml:5) demands TLS"];
    let host = stage.registry.host();
    let ran = stage.under(demand, &stage.disk(), &["--plain-http", &host]).failed(13, "plain-http-denied", &says);
    ran.golden("plain-http-upload-denied");
    stage.registry.assert_empty();
    stage.under(&demand.replace("true", "false"), &stage.disk(), &[]).done();
}
