//! What qemu-img creates is what the probe says it is: the same format, the same virtual size, and refused only for what
//! names another file or hides its content.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what every test here needs stands in functions of its own"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use probe_disk::samples::{Access, Disk, drive};
use probe_disk::{Severity, Verdict};

/// A folder that is removed with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("probe-disk-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a scratch folder");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One image: format, options, what is asked of qemu-img beside them, size, and the hazard that refuses it.
struct Image {
    format: &'static str,
    options: String,
    size: u64,
    refused: Option<&'static str>,
}

const MIB: u64 = 1 << 20;

/// Everything that qemu-img 7.2 can create, by subformat, cluster size and option.
fn images() -> Vec<Image> {
    let mut all = Vec::new();
    let mut add = |format, options: &str, size, refused| {
        all.push(Image { format, options: options.to_owned(), size, refused });
    };
    for size in [0, 512, MIB, 1_000_448, 5 * MIB + 512] {
        add("raw", "", size, None);
    }
    for size in [512, MIB, 1 << 40] {
        add("qcow", "", size, None);
    }
    add("qcow", "encrypt.format=aes,encrypt.key-secret=key", MIB, Some("qcow-encrypted"));
    for bits in 9..=21 {
        add("qcow2", &format!("compat=1.1,cluster_size={}", 1 << bits), 64 * MIB, None);
        add("qcow2", &format!("compat=0.10,cluster_size={}", 1 << bits), 64 * MIB + 512, None);
    }
    for bits in 14..=21 {
        add("qcow2", &format!("extended_l2=on,cluster_size={}", 1 << bits), 3 << 30, None);
    }
    for order in 0..=6 {
        add("qcow2", &format!("refcount_bits={}", 1 << order), MIB, None);
    }
    for options in ["lazy_refcounts=on", "compression_type=zstd", "compression_type=zlib", "preallocation=metadata"] {
        add("qcow2", options, 200 * MIB, None);
    }
    for options in ["preallocation=falloc", "preallocation=full", "preallocation=metadata,extended_l2=on"] {
        add("qcow2", options, 4 * MIB, None);
    }
    for size in [0, 512, 1 << 40, 1 << 45] {
        add("qcow2", "", size, None);
    }
    for cluster in ["4K", "8K", "16K", "64K", "128K", "1M"] {
        for table in [1, 2, 4, 8, 16] {
            add("qed", &format!("cluster_size={cluster},table_size={table}"), 64 * MIB, None);
        }
    }
    add("qed", "", 0, None);
    for options in ["subformat=monolithicSparse", "subformat=streamOptimized", "adapter_type=lsilogic", "compat6=on"] {
        add("vmdk", options, 16 * MIB, None);
    }
    for adapter in ["ide", "legacyESX"] {
        for subformat in ["monolithicSparse", "streamOptimized"] {
            let options = format!("adapter_type={adapter},subformat={subformat},hwversion=4,toolsversion=999");
            add("vmdk", &options, 1_000_448, None);
        }
    }
    for options in
        ["hwversion=17", "zeroed_grain=on", "adapter_type=buslogic", "subformat=streamOptimized,zeroed_grain=on"]
    {
        add("vmdk", options, 3 << 30, None);
    }
    for subformat in ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        add("vmdk", &format!("subformat={subformat}"), 16 * MIB, Some("vmdk-external-extent"));
    }
    for options in ["", "static=on"] {
        add("vdi", options, 10 * MIB, None);
        add("vdi", options, 10 * MIB + 512, None);
    }
    for size in [16 * MIB, 100 * MIB, 127 << 30] {
        add("vpc", "", size, None);
        add("vpc", "force_size=on", size, None);
    }
    for options in
        ["subformat=fixed", "subformat=fixed,force_size=on", "subformat=dynamic", "subformat=dynamic,force_size=on"]
    {
        add("vpc", options, 16 * MIB, None);
    }
    for bits in 0..=8 {
        add("vhdx", &format!("block_size={}M", 1 << bits), 1 << 30, None);
        add("vhdx", &format!("subformat=fixed,block_size={}M", 1 << bits), 64 * MIB, None);
    }
    for options in ["", "log_size=2M", "log_size=16M", "block_state_zero=off", "block_state_zero=off,subformat=fixed"] {
        add("vhdx", options, 64 * MIB, None);
    }
    for size in [512, 1_000_448, 1 << 40, 64 << 40] {
        add("vhdx", "", size, None);
    }
    for cluster in ["512", "4K", "64K", "1M", "4M", "32M"] {
        add("parallels", &format!("cluster_size={cluster}"), 64 * MIB, None);
    }
    for size in [0, 1_000_448, 3 << 40] {
        add("parallels", "", size, None);
    }
    for options in
        ["cipher-alg=serpent-256", "cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256", "preallocation=full"]
    {
        add("luks", &format!("key-secret=key,iter-time=10,{options}"), MIB, None);
    }
    add("qcow2", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10", MIB, Some("qcow2-encrypted"));
    add("qcow2", "encrypt.format=aes,encrypt.key-secret=key", MIB, Some("qcow2-encrypted"));
    add("luks", "key-secret=key,iter-time=10", 16 * MIB, None);
    all
}

/// How qemu-img 7.2 differs.
#[derive(Clone, Copy)]
enum Other {
    /// It is raw to it, and so many bytes longer.
    RawAndLonger(u64),
    /// It does not open what it has created, for this reason.
    DoesNotOpen(&'static str),
}

/// Where format or size differ from qemu-img 7.2, and why the probe is right.
const DIFFERENCES: [(&str, &str, Other, &str); 2] = [
    (
        "vpc",
        "subformat=fixed",
        Other::RawAndLonger(512),
        "a fixed VHD has its footer at the end alone, where qemu-img 7.2 to 10.0 do not look",
    ),
    (
        "qed",
        "table_size=1",
        Other::DoesNotOpen("table offset is invalid"),
        "a table of one cluster is legal by the specification; `qed_check_table_offset` of 7.2 to 10.0 takes its end for its \
         start: the probe warns of it and says that it does not run",
    ),
];

fn qemu_img(arguments: &[&str]) -> String {
    // To make a key qemu-img measures its own speed, and gives up if its clock has not moved meanwhile.
    const ATTEMPTS: usize = 20;
    let run = || Command::new("qemu-img").args(arguments).output().expect("qemu-img, of the package qemu-utils");
    let unmeasured =
        |output: &Output| String::from_utf8_lossy(&output.stderr).contains("Unable to get accurate CPU usage");
    let output = (1..ATTEMPTS).map(|_| run()).find(|output| !unmeasured(output)).unwrap_or_else(run);
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Format and virtual size, as qemu-img says; else what it complains of.
fn info(path: &Path) -> Result<(String, u64), String> {
    let output = Command::new("qemu-img").args(["info", "--output=json"]).arg(path).output().expect("qemu-img");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    Ok((said["format"].as_str().expect("a format").to_owned(), said["virtual-size"].as_u64().expect("a size")))
}

fn refusals(verdict: &Verdict) -> Vec<&'static str> {
    let grave = verdict.hazards.iter().filter(|hazard| hazard.severity == Severity::Refuse);
    grave.map(|hazard| hazard.code).collect()
}

fn probed(path: &Path, what: &str) -> Verdict {
    let file = File::open(path).expect("an image");
    let verdict = drive(&file, Access::Ranged).0.unwrap_or_else(|why| panic!("{what}: {}", why.0));
    let in_order = drive(&file, Access::InOrder).0.unwrap_or_else(|why| panic!("{what} in order: {}", why.0));
    assert_eq!((verdict.format, verdict.virtual_size), (in_order.format, in_order.virtual_size), "{what}");
    if refusals(&verdict).is_empty() {
        assert_eq!(verdict, in_order, "{what}");
    }
    verdict
}

fn same_as_qemu_img(path: &Path, what: &str, options: &str, verdict: &Verdict) {
    let said = info(path);
    let other = DIFFERENCES.iter().find(|(of, with, ..)| *of == verdict.format && has_option(options, with));
    match (other, said) {
        (None, Ok((format, size))) => {
            assert_eq!((verdict.format, verdict.virtual_size), (format.as_str(), Some(size)), "{what}");
        }
        (Some((.., Other::RawAndLonger(bytes), _)), Ok((format, size))) => {
            assert_eq!((format.as_str(), size), ("raw", fs::metadata(path).expect("a size").len()), "{what}");
            assert_eq!(verdict.virtual_size, Some(size - bytes), "{what}");
        }
        (Some((.., Other::DoesNotOpen(why), _)), Err(complaint)) => {
            assert!(complaint.contains(why), "{what}: {complaint}");
        }
        (_, said) => panic!("{what}: {said:?}"),
    }
}

fn has_option(options: &str, option: &str) -> bool {
    options.split(',').any(|one| one == option)
}

#[test]
fn what_qemu_img_creates_is_what_it_says_it_is() {
    let scratch = Scratch::new("parity");
    let all = images();
    assert!(all.len() >= 160, "{} images", all.len());
    for (number, image) in all.iter().enumerate() {
        let path = scratch.0.join(format!("{number}.{}", image.format));
        let (text, size) = (path.display().to_string(), image.size.to_string());
        let options = if image.options.is_empty() { vec![] } else { vec!["-o", &image.options] };
        let secret = ["--object", "secret,id=key,data=secret"];
        let arguments = [&["create", "-q", "-f", image.format][..], &secret, &options, &[&text, &size]].concat();
        qemu_img(&arguments);
        let what = format!("{number}: {} {} {}", image.format, image.options, image.size);
        let verdict = probed(&path, &what);
        same_as_qemu_img(&path, &what, &image.options, &verdict);
        let codes = refusals(&verdict);
        match image.refused {
            None => assert_eq!(codes, [""; 0], "{what}: {:?}", verdict.hazards),
            Some(code) => assert!(codes.contains(&code), "{what}: {codes:?}"),
        }
    }
}

/// Disks with a partition table and something in it, in every format that qemu-img converts to.
const CONVERSIONS: [(&str, &str, &[&str]); 17] = [
    ("qcow", "", &[]),
    ("qcow2", "", &[]),
    ("qcow2", "", &["-c"]),
    ("qcow2", "compression_type=zstd", &["-c"]),
    ("qcow2", "cluster_size=512", &[]),
    ("qcow2", "cluster_size=4096", &[]),
    ("qcow2", "cluster_size=32768,extended_l2=on", &[]),
    ("qcow2", "compat=0.10", &[]),
    ("qed", "", &[]),
    ("vmdk", "", &[]),
    ("vmdk", "subformat=streamOptimized", &[]),
    ("vdi", "", &[]),
    ("vpc", "force_size=on", &[]),
    ("vpc", "subformat=fixed,force_size=on", &[]),
    ("vhdx", "", &[]),
    ("parallels", "", &[]),
    ("raw", "", &[]),
];

/// A disk that ends early.
struct Cut<'a>(&'a File, u64);

impl Disk for Cut<'_> {
    fn size(&self) -> u64 {
        self.1
    }

    fn read(&self, offset: u64, len: u64) -> Vec<u8> {
        let to = offset.saturating_add(len).min(self.1);
        self.0.read(offset, to.saturating_sub(offset))
    }
}

#[test]
fn disks_with_something_in_them_are_the_same_and_have_no_wrong_size_when_they_are_cut() {
    let scratch = Scratch::new("converted");
    let source = scratch.0.join("source");
    let mut disk = vec![0; 6 << 20];
    let noise = (0..disk.len() as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8);
    for (byte, noise) in disk.iter_mut().zip(noise).skip(1 << 20).take(3 << 20) {
        *byte = noise;
    }
    // A GPT with its second header in the last sector, which is the last thing in many a converted image.
    let table = probe_disk::samples::gpt(512);
    disk[..34 * 512].copy_from_slice(&table[..34 * 512]);
    let last = disk.len() - 512;
    disk[last..].copy_from_slice(&table[512..1024]);
    fs::write(&source, &disk).expect("a disk");
    for (number, (format, options, more)) in CONVERSIONS.into_iter().enumerate() {
        let path = scratch.0.join(format!("{number}.{format}"));
        let with = if options.is_empty() { vec![] } else { vec!["-o", options] };
        let (from, to) = (source.display().to_string(), path.display().to_string());
        qemu_img(&[&["convert", "-f", "raw", "-O", format][..], more, &with, &[&from, &to]].concat());
        let what = format!("{number}: {format} {options} {more:?}");
        let verdict = probed(&path, &what);
        same_as_qemu_img(&path, &what, options, &verdict);
        assert_eq!(refusals(&verdict), [""; 0], "{what}: {:?}", verdict.hazards);
        let file = File::open(&path).expect("an image");
        let length = Disk::size(&file);
        let cluster = verdict.details.iter().find(|(name, _)| *name == "cluster-size");
        let cluster: u64 = cluster.map_or(0, |(_, bytes)| bytes.parse().unwrap());
        for part in 0..40 {
            // None of these is the whole.
            let cut = length * part / 40 + part % 3;
            let Ok(seen) = drive(&Cut(&file, cut), Access::Ranged).0 else { continue };
            let right = seen.virtual_size == verdict.virtual_size || seen.virtual_size.is_none();
            let raw = seen.format == "raw" && seen.virtual_size == Some(cut.next_multiple_of(512));
            let refused = !refusals(&seen).is_empty();
            assert!(right || raw || refused, "{what} cut to {cut} of {length}: {seen:?}");
            // A mark is in the first sector, but for the one of a fixed VHD.
            let has_no_mark = verdict.format == "raw" || options.contains("fixed") || cut < 512;
            assert!(!raw || has_no_mark, "{what} cut to {cut}: {seen:?}");
            // A tenth is missing of what was written in order, and more than a last cluster, which may be padding.
            let is_little = part >= 36 || cut + cluster >= length;
            assert!(refused || has_no_mark || is_little, "{what} cut to {cut} of {length}: {seen:?}");
        }
    }
}

/// Where clusters are small, the descriptors of an ISO that is the disk can come to lie where those of a file that is an ISO
/// would: nobody can tell the two apart by what names them, so that they are refused.
const ISO_AT_ITS_PLACE: [(&str, &str, u64); 4] = [
    ("qcow2", "cluster_size=4096", 3 << 30),
    ("qcow2", "cluster_size=4096", 4 << 30),
    ("qcow", "", 5 << 30),
    ("parallels", "cluster_size=16384", 100 << 20),
];

#[test]
fn a_disk_that_is_an_iso_is_converted_to_what_is_none() {
    let scratch = Scratch::new("iso");
    let source = scratch.0.join("source");
    fs::write(&source, probe_disk::samples::iso()).expect("a disk");
    let text = source.display().to_string();
    for (number, (format, options, more)) in CONVERSIONS.into_iter().enumerate() {
        let path = scratch.0.join(format!("{number}.{format}"));
        let with = if options.is_empty() { vec![] } else { vec!["-o", options] };
        qemu_img(
            &[&["convert", "-f", "raw", "-O", format][..], more, &with, &[&text, &path.display().to_string()]].concat(),
        );
        let what = format!("{number}: {format} {options} {more:?}");
        let verdict = probed(&path, &what);
        if format == "raw" {
            assert_eq!(verdict.format, "iso9660", "{what}");
            continue;
        }
        if options.contains("fixed") {
            // An ISO to all who read it from its start, and a VHD to all who look at its end.
            assert_eq!((verdict.format, refusals(&verdict)), ("iso9660", vec!["format-ambiguous"]), "{what}");
            continue;
        }
        same_as_qemu_img(&path, &what, options, &verdict);
        assert_eq!(refusals(&verdict), [""; 0], "{what}: {:?}", verdict.hazards);
    }
    // The size decides where the tables end.
    for (format, options, size) in ISO_AT_ITS_PLACE {
        File::options().write(true).open(&source).expect("a disk").set_len(size).expect("a size");
        let path = scratch.0.join("image").display().to_string();
        let with = if options.is_empty() { vec![] } else { vec!["-o", options] };
        qemu_img(&[&["convert", "-f", "raw", "-O", format][..], &with, &[&text, &path]].concat());
        let verdict = probed(Path::new(&path), format);
        assert_eq!(refusals(&verdict), ["format-ambiguous"], "{format} {options} of {size}");
    }
}

#[test]
fn images_that_were_worked_with_are_the_same() {
    let scratch = Scratch::new("worked");
    let path = scratch.0.join("disk.qcow2");
    let text = path.display().to_string();
    qemu_img(&["create", "-q", "-f", "qcow2", &text, "1G"]);
    qemu_img(&["snapshot", "-c", "one", &text]);
    qemu_img(&["bitmap", "--add", &text, "changes"]);
    qemu_img(&["resize", "-q", &text, "+1G"]);
    let verdict = probed(&path, "snapshot and bitmap");
    same_as_qemu_img(&path, "snapshot and bitmap", "", &verdict);
    assert_eq!(refusals(&verdict), [""; 0]);
    assert!(verdict.details.contains(&("bitmaps", "true".to_owned())));
    assert!(verdict.details.contains(&("snapshots", "1".to_owned())));
    // These name other files: qemu-img creates them, and nobody opens them here.
    let (overlay, outside) = (scratch.0.join("overlay"), scratch.0.join("outside"));
    for (format, name) in [("qcow", "qcow-backing-file"), ("qcow2", "qcow2-backing-file"), ("qed", "qed-backing-file")]
    {
        let overlay = overlay.with_extension(format);
        qemu_img(&["create", "-q", "-f", format, "-b", &text, "-F", "qcow2", &overlay.display().to_string()]);
        assert_eq!(refusals(&probed(&overlay, name)), [name]);
    }
    let data = format!("data_file={}", scratch.0.join("data").display());
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", &data, &outside.display().to_string(), "1M"]);
    assert_eq!(refusals(&probed(&outside, "data file")), ["qcow2-data-file", "qcow2-data-file-name"]);
    let data = format!("data_file={},data_file_raw=on", scratch.0.join("raw-data").display());
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", &data, &outside.display().to_string(), "1M"]);
    assert_eq!(refusals(&probed(&outside, "raw data file")), ["qcow2-data-file", "qcow2-data-file-name"]);
    let child = scratch.0.join("child.vmdk");
    let parent = scratch.0.join("parent.vmdk");
    qemu_img(&["create", "-q", "-f", "vmdk", &parent.display().to_string(), "1M"]);
    let parent = parent.display().to_string();
    qemu_img(&["create", "-q", "-f", "vmdk", "-b", &parent, "-F", "vmdk", &child.display().to_string()]);
    assert!(refusals(&probed(&child, "parent")).contains(&"vmdk-parent"));
}
