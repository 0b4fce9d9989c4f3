//! Wrappers that are hostile, broken or too large: each ends at its limit, by name, and nothing is committed.

use std::fs;

use longshore_tests::layers::assert_layout_empty;
use longshore_tests::program::{MOST_OF_ITS_OWN, Ran, import, longshore, watched};
use longshore_tests::scratch::Scratch;
use longshore_tests::wrapped::{disk, in_folder, piped};

/// Zeros that expand further than is accepted.
const BOMB: usize = 100 << 20;
/// Every filter, and how to make something for it.
const COMPRESSORS: [(&str, &str); 4] = [("gzip", "gzip"), ("xz", "xz -1"), ("zstd", "zstd -q"), ("bzip2", "bzip2")];

/// Imports these bytes into a layout, which must fail so and leave nothing.
fn fails(wrapped: &[u8], more: &[&str], exit: i32, code: &str, says: &[&str]) -> Ran {
    let scratch = Scratch::new();
    fs::write(scratch.path("vm.raw"), wrapped).unwrap();
    let (source, to) = (scratch.text("vm.raw"), format!("oci:{}:1", scratch.text("layout")));
    let ran = import([&[&*source, &*to], more].concat()).failed(exit, code, says);
    assert_layout_empty(&scratch.path("layout"));
    ran
}

/// `bytes` in an archive that this tool makes of them.
fn archived(command: &str, bytes: &[u8]) -> Vec<u8> {
    let scratch = Scratch::new();
    fs::write(scratch.path("disk.raw"), bytes).unwrap();
    in_folder(&scratch.path("."), command);
    fs::read(scratch.path("all")).or_else(|_| fs::read(scratch.path("all.zip"))).unwrap()
}

#[test]
fn every_wrapper_expands_only_so_far_within_its_memory() {
    let zeros = vec![0; BOMB];
    let size = BOMB.to_string();
    let mut bombs: Vec<(&str, Vec<u8>)> =
        COMPRESSORS.iter().map(|(filter, command)| (*filter, piped(command, &zeros))).collect();
    bombs.push(("archive", archived("zip -q -9 all.zip disk.raw", &zeros)));
    for (filter, bomb) in bombs {
        let scratch = Scratch::new();
        fs::write(scratch.path("bomb"), bomb).unwrap();
        let (source, to) = (scratch.text("bomb"), format!("oci:{}:1", scratch.text("layout")));
        let mut command = longshore(["import", &*source, &to, "--filter", filter, "--size", &size]);
        let (ran, peak) = watched(&mut command);
        ran.failed(11, "disk-invalid", &["at most 1000 bytes for each are accepted"]);
        assert!(peak > 0 && peak <= MOST_OF_ITS_OWN, "{filter}: {} MiB", peak >> 20);
        assert_layout_empty(&scratch.path("layout"));
    }
}

#[test]
fn a_bomb_inside_another_ends_where_it_goes_off() {
    let inside = piped("bzip2", &vec![0; BOMB]);
    let wrapped = piped("gzip", &piped("xz", &inside));
    let size = BOMB.to_string();
    let says = ["filter-bzip2: ", "at most 1000 bytes for each are accepted"];
    fails(&wrapped, &["--filter", "auto", "--size", &size], 11, "disk-invalid", &says);
}

#[test]
fn what_the_user_or_the_policy_allows_ends_a_smaller_one() {
    let disk = disk(3_000_000);
    let scratch = Scratch::new();
    let policy = |name: &str, text: &str| {
        fs::write(scratch.path(name), format!("schema = \"longshore.policy/v1\"\n{text}")).unwrap();
        scratch.text(name)
    };
    let small = policy("small.toml", "[require]\nmax-size = \"1MiB\"\n");
    let spool = scratch.folder("spool").display().to_string();
    for (filter, command) in COMPRESSORS {
        // A pipe says nothing of the length, so that none of them can.
        let wrapped = piped(command, &disk);
        let filter = ["--filter", filter];
        let says = ["wrote at least", "expected 2999999 as --size says"];
        fails(&wrapped, &[&filter[..], &["--size", "2999999"]].concat(), 11, "disk-length-mismatch", &says);
        let says = ["wrote 3000000 bytes, expected 3000001 as --size says"];
        fails(&wrapped, &[&filter[..], &["--size", "3000001"]].concat(), 11, "disk-length-mismatch", &says);
        let spooled = ["--spool", &*spool, "--spool-max", "1MiB"];
        fails(&wrapped, &[&filter[..], &spooled].concat(), 20, "spool-full", &["--spool-max"]);
        let sized = [&filter[..], &["--policy", &small, "--size", "3000000"]].concat();
        fails(&wrapped, &sized, 11, "disk-too-large", &["require.max-size"]);
    }
}

#[test]
fn what_needs_too_much_memory_is_refused_before_it_takes_it() {
    let disk = disk(100_000);
    for (filter, wrapped, says) in [
        ("xz", piped("xz --lzma2=dict=100MiB", &disk), "a dictionary of 128 MiB, more than the 64 MiB"),
        ("zstd", piped("zstd -q --long=27", &disk), "a window of 134217728 bytes, more than the 16 MiB"),
        ("zstd", piped("zstd -q --ultra -20", &disk), "a window of 33554432 bytes, more than the 16 MiB"),
    ] {
        fails(&wrapped, &["--filter", filter, "--size", "100000"], 11, "disk-invalid", &[says]);
    }
    // What is accepted fits into what a component has.
    let disk = longshore_tests::wrapped::disk(80_000_000);
    for (filter, command) in [("xz", "xz -0 --lzma2=preset=0,dict=64MiB"), ("zstd", "zstd -q --long=24")] {
        let scratch = Scratch::new();
        fs::write(scratch.path("vm.raw"), piped(command, &disk)).unwrap();
        let (source, to) = (scratch.text("vm.raw"), format!("oci:{}:1", scratch.text("layout")));
        import([&*source, &to, "--filter", filter, "--size", "80000000"]).done();
    }
    // Whoever sets a limit is the one who counts.
    let scratch = Scratch::new();
    let text = "schema = \"longshore.policy/v1\"\n[limits]\ncomponent-memory = \"65MiB\"\n";
    fs::write(scratch.path("policy.toml"), text).unwrap();
    let policy = scratch.text("policy.toml");
    let wrapped = piped("xz -0 --lzma2=preset=0,dict=64MiB", &disk);
    let more = ["--filter", "xz", "--size", "80000000", "--policy", &*policy];
    fails(&wrapped, &more, 14, "component-budget", &["granted are 68157440"]);
}

#[test]
fn what_is_cut_or_damaged_is_refused_or_the_same() {
    let disk = disk(30_000);
    let mut all: Vec<(&str, Vec<u8>)> =
        COMPRESSORS.iter().map(|(filter, command)| (*filter, piped(command, &disk))).collect();
    all.push(("archive", archived("tar --blocking-factor=1 -cf all disk.raw", &disk)));
    all.push(("archive", archived("zip -q all.zip disk.raw", &disk)));
    for (filter, whole) in all {
        let more = ["--filter", filter, "--size", "30000"];
        for part in 0..8 {
            let at = whole.len() * part / 8;
            // The end of a tar are two blocks of zeros, of a zip what repeats the directory.
            fails(&whole[..at], &more, 11, "disk-invalid", &[&format!("filter-{filter}: ")]);
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            let scratch = Scratch::new();
            fs::write(scratch.path("vm.raw"), &damaged).unwrap();
            let (source, to) = (scratch.text("vm.raw"), format!("oci:{}:1", scratch.text("layout")));
            let ran = import([&[&*source, &*to, "--report", "-"], &more[..]].concat());
            // tar has no checksum over what it holds: there, whoever wants one names it.
            if ran.code != Some(0) {
                assert_eq!(ran.code, Some(11), "{}", ran.stderr);
                let said = ["error[disk-invalid]", "error[disk-length-mismatch]"];
                assert!(said.iter().any(|said| ran.stderr.contains(said)), "{}", ran.stderr);
                assert_layout_empty(&scratch.path("layout"));
            } else if filter != "archive" {
                let sum = piped("sha256sum", &disk);
                let sum = format!("disk:sha256:{}", String::from_utf8_lossy(&sum[..64]));
                import([&[&*source, &*to, "--checksum", &sum], &more[..]].concat()).done();
            }
        }
    }
}

#[test]
fn what_is_something_else_is_said_to_be_none() {
    let disk = [b"QFI\xfb\0\0\0\x03", &disk(10_000)[..]].concat();
    for (filter, what) in [
        ("gzip", "no gzip member begins here"),
        ("xz", "no xz stream begins here"),
        ("zstd", "no zstd frame begins here"),
        ("bzip2", "no bzip2 stream begins here"),
        ("archive", "no archive begins here"),
    ] {
        let size = disk.len().to_string();
        fails(
            &disk,
            &["--filter", filter, "--size", &size],
            11,
            "disk-invalid",
            &[&format!("filter-{filter}: {what}")],
        );
        // Before anybody asks how long it is.
        fails(&disk, &["--filter", filter], 11, "disk-invalid", &[what]);
        fails(&[], &["--filter", filter], 11, "disk-invalid", &[&format!("filter-{filter}: ")]);
    }
    for (command, says) in [
        ("zip -q -P secret all.zip disk.raw", "`disk.raw` in the zip archive is encrypted"),
        ("tar --sparse -cf all disk.raw", "`disk.raw` is stored as a sparse file"),
        ("tar --format=pax --sparse -cf all disk.raw", "`disk.raw` is stored as a sparse file"),
        ("zip -q -Z bzip2 all.zip disk.raw", "has the compression method 12"),
    ] {
        let sparse = [vec![1; 4096], vec![0; 1 << 20]].concat();
        let archive = if command.starts_with("tar") { sparsely(command, &sparse) } else { archived(command, &sparse) };
        fails(&archive, &["--filter", "archive", "--size", "5"], 11, "disk-invalid", &[says]);
    }
}

/// An archive of a file with a hole.
fn sparsely(command: &str, bytes: &[u8]) -> Vec<u8> {
    let scratch = Scratch::new();
    fs::write(scratch.path("disk.raw"), &bytes[..4096]).unwrap();
    fs::OpenOptions::new().write(true).open(scratch.path("disk.raw")).unwrap().set_len(bytes.len() as u64).unwrap();
    in_folder(&scratch.path("."), command);
    fs::read(scratch.path("all")).unwrap()
}

#[test]
fn a_first_frame_that_is_not_the_only_one_is_found_out() {
    // Two small frames that could be one of what the first one says.
    let scratch = Scratch::new();
    let words = "words ".repeat(10_000);
    fs::write(scratch.path("disk.raw"), &words).unwrap();
    in_folder(&scratch.path("."), "zstd -q disk.raw");
    let frame = fs::read(scratch.path("disk.raw.zst")).unwrap();
    let says = ["wrote at least", "expected 60000 as it announced"];
    fails(&[&frame[..], &frame].concat(), &["--filter", "zstd"], 11, "disk-length-mismatch", &says);
}

#[test]
fn a_filter_that_the_policy_does_not_grant_is_not_chosen() {
    let scratch = Scratch::new();
    let text = "schema = \"longshore.policy/v1\"\n[components]\nbuilt-in = false\n";
    let listed: String = longshore::engine::built_in()
        .iter()
        .filter(|component| component.name != "filter-gzip")
        .map(|component| format!("[[components.allow]]\ndigest = \"{}\"\n", component.digest))
        .collect();
    fs::write(scratch.path("policy.toml"), format!("{text}{listed}")).unwrap();
    let policy = scratch.text("policy.toml");
    let disk = disk(10_000);
    let more = ["--filter", "auto", "--size", "10000", "--policy", &*policy];
    let says = ["`filter-gzip`", "must not run as filter"];
    fails(&piped("gzip", &disk), &more, 13, "component-denied", &says);
    let to = format!("oci:{}:1", scratch.text("layout"));
    fs::write(scratch.path("vm.xz"), piped("xz", &disk)).unwrap();
    import([&[&*scratch.text("vm.xz"), &*to], &more[..]].concat()).done();
    let explained = longshore(["policy", "explain", &*scratch.text("vm.xz"), &to]).args(more).output().unwrap();
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains("open     run `filter-xz`") && !explained.contains("filter-gzip"), "{explained}");
}
