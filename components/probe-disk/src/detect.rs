//! Which format it is.
//!
//! A look at the head gives the candidates: every format whose mark stands at its place. One of them inspects the disk; the
//! others are told as hazards, because who reads the disk as what is anybody's guess. The same goes for marks at the tail.
//! Those rules are here, and nowhere else.

use crate::archive::{lzip, lzma, ova, seven_zip, tar, zip};
use crate::unsupported::{bochs, cloop};
use crate::verdict::quoted;
use crate::view::Stop;
use crate::{
    Malformed, Request, Verdict, View, bzip2, dmg, gzip, iso9660, luks, lz4, mbr, parallels, qcow, qcow2, qed, raw,
    udf, vdi, vhdx, vmdk, vpc, xz, zstd,
};

/// Bytes of head that settle nearly every disk.
pub(crate) const FIRST_READ: u64 = 64 * 1024;

/// Bytes of tail that are looked at for marks.
pub const TAIL: u64 = 4096;

/// A virtual size beyond this one is told: 64 TiB, the most of VHDX and more than most clouds give a machine.
const HUGE: u64 = 64 << 40;

/// What stands at its place and is the mark of something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) offset: u64,
    pub(crate) bytes: &'static [u8],
    /// What has it, for messages.
    pub(crate) name: &'static str,
}

/// A format: how it is recognised by the head, and the function that inspects a disk of it.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// As it is called in a verdict: as QEMU calls it, if QEMU does.
    pub name: &'static str,
    marked: Marked,
    inspect: Inspect,
    /// Whether QEMU runs a machine from such a file without unpacking or converting it.
    runs: bool,
    /// Whether it is a wrapper around a disk.
    wraps: bool,
}

const fn disk(name: &'static str, marked: Marked, inspect: Inspect) -> Format {
    Format { name, marked, inspect, runs: true, wraps: false }
}

const fn other(name: &'static str, marked: Marked, inspect: Inspect) -> Format {
    Format { name, marked, inspect, runs: false, wraps: false }
}

const fn wrapper(name: &'static str, marked: Marked, inspect: Inspect) -> Format {
    Format { name, marked, inspect, runs: false, wraps: true }
}

/// The mark in a disk's first bytes, if it stands there.
type Marked = fn(&[u8]) -> Option<Mark>;

/// What a disk is that has the mark, and of which enough was read; else what must be read.
type Inspect = fn(&View) -> Result<Verdict, Stop>;

/// The formats this probe can name, in the order in which they take a disk that has the marks of several.
pub const FORMATS: [Format; 26] = [
    disk("qcow2", qcow2::marked, qcow2::inspect),
    disk("qcow", qcow::marked, qcow::inspect),
    disk("qed", qed::marked, qed::inspect),
    disk("vmdk", vmdk::marked, vmdk::inspect),
    disk("vhdx", vhdx::marked, vhdx::inspect),
    disk("vpc", vpc::marked, vpc::inspect),
    disk("vdi", vdi::marked, vdi::inspect),
    disk("parallels", parallels::marked, parallels::inspect),
    other("luks", luks::marked, luks::inspect),
    other("bochs", bochs::marked, bochs::inspect),
    other("cloop", cloop::marked, cloop::inspect),
    wrapper("gzip", gzip::marked, gzip::inspect),
    wrapper("xz", xz::marked, xz::inspect),
    wrapper("zstd", zstd::marked, zstd::inspect),
    wrapper("bzip2", bzip2::marked, bzip2::inspect),
    wrapper("lz4", lz4::marked, lz4::inspect),
    wrapper("zip", zip::marked, zip::inspect),
    wrapper("7z", seven_zip::marked, seven_zip::inspect),
    wrapper("lzip", lzip::marked, lzip::inspect),
    wrapper("lzma", lzma::marked, lzma::inspect),
    wrapper("ova", ova::marked, ova::inspect),
    wrapper("tar", tar::marked, tar::inspect),
    disk("iso9660", iso9660::marked, iso9660::inspect),
    disk("udf", udf::marked, udf::inspect),
    // Its mark is at the tail alone.
    other("dmg", |_| None, dmg::inspect),
    // A partition table makes a raw disk, and so does nothing at all.
    disk("raw", mbr::marked, raw::inspect),
];

impl Format {
    /// Whether it is a wrapper around a disk, of which what is inside counts.
    #[must_use]
    pub const fn is_wrapper(&self) -> bool {
        self.wraps
    }
}

impl Mark {
    /// This mark, if the head has it.
    pub(crate) fn find(head: &[u8], offset: usize, bytes: &'static [u8], name: &'static str) -> Option<Self> {
        let found = head.get(offset..).is_some_and(|at| at.starts_with(bytes));
        found.then_some(Self { offset: offset as u64, bytes, name })
    }
}

/// What a look at a disk gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Settled.
    Verdict(Verdict),
    /// This range must be read first.
    Need(Request),
}

/// Looks at a disk as far as it was read.
///
/// # Errors
/// [`Malformed`] with words for the user.
pub fn detect(view: &View) -> Result<Answer, Malformed> {
    answer(settle(view))
}

/// Inspects a disk as `format`, whatever its marks are: for tests of one format.
///
/// # Errors
/// As [`detect()`].
pub fn inspect_as(format: &Format, view: &View) -> Result<Answer, Malformed> {
    answer((format.inspect)(view))
}

fn answer(settled: Result<Verdict, Stop>) -> Result<Answer, Malformed> {
    match settled {
        Ok(verdict) => Ok(Answer::Verdict(verdict)),
        Err(Stop::Need(request)) => Ok(Answer::Need(request)),
        Err(Stop::Malformed(malformed)) => Err(malformed),
    }
}

fn settle(view: &View) -> Result<Verdict, Stop> {
    let head = view.at(0, FIRST_READ)?;
    let mut candidates = FORMATS.iter().filter_map(|format| Some((format, (format.marked)(head)?)));
    let Some((format, _)) = candidates.next().filter(|(format, _)| format.name != "raw") else {
        return without_mark(view);
    };
    // What is in a wrapper may be what is expected.
    let other_expected = !format.wraps && view.expects_none_of(&[format.name]);
    if view.flows_in_order() && other_expected {
        return Ok(unread(format.name, None));
    }
    let mut verdict = match (format.inspect)(view) {
        // What is wrong with a format that nobody wants is not what the user must hear of.
        Err(Stop::Malformed(_)) if other_expected => return Ok(unread(format.name, None)),
        settled => settled?,
    };
    for (_, mark) in candidates.filter(|(second, _)| !legal_together(format.name, second.name)) {
        ambiguous(&mut verdict, &mark);
    }
    if view.waits_for_tail(&verdict) {
        tail(view, &mut verdict)?;
    } else {
        // What is refused anyway is not carried to its end for the sake of its tail; nor is anything said of the tail.
        let why = format!("the disk is refused before its last {TAIL} bytes, which were not waited for");
        tail_unknown(view, &mut verdict, &why);
    }
    Ok(finished(verdict, format.runs))
}

/// A disk of which nothing but its first bytes was read: the user says that it is of another format.
fn unread(format: &'static str, virtual_size: Option<u64>) -> Verdict {
    let mut verdict = Verdict::new(format, virtual_size);
    let message = format!(
        "the disk is {format} by its first {FIRST_READ} bytes and another format is expected, so that nothing else of it was read"
    );
    verdict.refuse("tail-not-inspected", message);
    finished(verdict, false)
}

/// What a disk without a mark at its head can be.
const WITHOUT_MARK: [&str; 3] = ["raw", "vpc", "dmg"];

/// A disk without a mark at its head: one with a mark at its tail, else raw.
fn without_mark(view: &View) -> Result<Verdict, Stop> {
    if view.flows_in_order() && view.expects_none_of(&WITHOUT_MARK) {
        return Ok(unread("raw", raw::size(view)));
    }
    // Before the tail, for what its partition table needs has flowed past by then.
    let raw = raw::inspect(view)?;
    let end = view.tail(TAIL)?;
    let (mut verdict, runs) = match end {
        Some(end) if vpc::marked_at_tail(end).is_some() => (vpc::inspect(view)?, true),
        Some(end) if dmg::marked(end).is_some() => (dmg::inspect(view)?, false),
        // Once more: by now the end may be known.
        Some(_) => (raw::inspect(view)?, true),
        None => (raw, true),
    };
    tail(view, &mut verdict)?;
    Ok(finished(verdict, runs))
}

/// ISO 9660 leaves its first 32 KiB to whoever boots from it, and UDF begins behind its descriptors.
fn legal_together(first: &str, second: &str) -> bool {
    first == "iso9660" && matches!(second, "raw" | "udf")
}

/// What stands at the end and makes another format of it. A GPT's second header there is what a disk image's last cluster
/// often holds, and says nothing.
fn tail(view: &View, verdict: &mut Verdict) -> Result<(), Stop> {
    let Some(end) = view.tail(TAIL)? else {
        let why = "the source does not say where the disk ends, so that its last 4096 bytes are unknown";
        tail_unknown(view, verdict, why);
        return Ok(());
    };
    for (mark, format) in [(vpc::marked_at_tail(end), "vpc"), (dmg::marked(end), "dmg")] {
        if let Some(mark) = mark.filter(|_| verdict.format != format) {
            let (bytes, from_end, is) = (quoted(mark.bytes), mark.offset, verdict.format);
            let message = format!(
                "{bytes} at {from_end} bytes before the end is the mark of {}, in a disk that is {is} by another",
                mark.name
            );
            verdict.refuse("format-ambiguous", message);
        }
    }
    Ok(())
}

/// Says that nobody has looked at the tail. Of what is in a wrapper nobody could: who unwraps it sees to that.
fn tail_unknown(view: &View, verdict: &mut Verdict, why: &str) {
    if view.is_partial() {
        verdict
            .note("tail-not-shown", "only the beginning of the disk is shown, so that its last 4096 bytes are unknown");
    } else {
        verdict.refuse("tail-not-inspected", why);
    }
}

fn ambiguous(verdict: &mut Verdict, mark: &Mark) {
    let message = format!(
        "{} at {:#x} is the mark of {}, in a disk that is {} by another",
        quoted(mark.bytes),
        mark.offset,
        mark.name,
        verdict.format
    );
    verdict.refuse("format-ambiguous", message);
}

fn finished(mut verdict: Verdict, runs: bool) -> Verdict {
    if let Some(size) = verdict.virtual_size.filter(|size| *size > HUGE) {
        verdict.warn("virtual-size-huge", format!("the virtual size is {size} bytes, more than {HUGE}"));
    }
    let unopened = verdict.hazards.iter().any(|hazard| hazard.code == "qed-table-size");
    let boots = runs && !unopened && !verdict.is_refused();
    verdict.detail("runs-as-it-is", if boots { "yes" } else { "no" });
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{self, Access, drive, settled};

    fn codes(disk: &[u8]) -> Vec<&'static str> {
        settled(disk).unwrap().hazards.into_iter().map(|hazard| hazard.code).collect()
    }

    #[test]
    fn the_head_is_asked_for_before_anything_is_said() {
        let first = Request::At { offset: 0, len: FIRST_READ as u32 };
        assert_eq!(detect(&View::new(Some(1 << 30))), Ok(Answer::Need(first)));
        assert_eq!(detect(&View::new(None)), Ok(Answer::Need(first)));
    }

    #[test]
    fn what_is_nothing_else_is_raw() {
        for access in [Access::Ranged, Access::InOrder, Access::Unknown] {
            let verdict = drive(&[7; 600][..], access).0.unwrap();
            assert_eq!((verdict.format, verdict.virtual_size), ("raw", Some(1024)));
            assert!(verdict.hazards.is_empty());
            assert_eq!(drive(&[][..], access).0.unwrap().virtual_size, Some(0));
        }
    }

    #[test]
    fn a_second_mark_makes_a_disk_ambiguous_and_a_hybrid_iso_is_none() {
        let mut both = samples::qcow2();
        both[0x8001..0x8006].copy_from_slice(b"CD001");
        let found = settled(&both).unwrap();
        assert_eq!((found.format, found.hazards.len()), ("qcow2", 1));
        assert_eq!(found.hazards[0].code, "format-ambiguous");
        assert!(found.hazards[0].message.contains("`CD001` at 0x8001 is the mark of ISO 9660"));
        let mut tar = samples::qcow2();
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(codes(&tar), ["format-ambiguous"]);
        let mut table = samples::qcow2();
        table[440..512].copy_from_slice(&samples::mbr()[440..512]);
        assert_eq!(codes(&table), ["format-ambiguous"], "a raw disk whose guest wrote a header");

        let mut hybrid = samples::iso();
        hybrid[..512].copy_from_slice(&samples::mbr()[..512]);
        assert_eq!(codes(&hybrid), [""; 0]);
        let mut bridge = samples::iso();
        for (number, mark) in [b"BEA01", b"NSR02", b"TEA01"].into_iter().enumerate() {
            let at = 0x8001 + (4 + number) * 2048;
            bridge[at..at + 5].copy_from_slice(mark);
        }
        assert_eq!(codes(&bridge), [""; 0]);
        let mut three = hybrid;
        three[0x40..0x44].copy_from_slice(b"\x7f\x10\xda\xbe");
        assert!(settled(&three).is_err(), "it is a VDI first, and no VDI");
    }

    #[test]
    fn a_mark_at_the_tail_makes_a_disk_ambiguous() {
        for tail in [samples::vpc_footer(1 << 20, 2), samples::dmg().split_off(70_000)] {
            for mut disk in [samples::qcow2(), samples::vmdk(), samples::iso(), samples::vdi(), samples::vhdx(2)] {
                disk.extend_from_slice(&tail);
                assert_eq!(codes(&disk), ["format-ambiguous"]);
            }
        }
        let mut word = samples::qcow2();
        word.extend_from_slice(&[0; 512]);
        let at = word.len() - 512;
        word[at..at + 8].copy_from_slice(b"conectix");
        assert_eq!(codes(&word), [""; 0], "a word without a checksum is none");
        let mut gpt = samples::qcow2();
        let at = gpt.len() - 512;
        gpt[at..].copy_from_slice(&samples::gpt(512)[512..1024]);
        assert_eq!(codes(&gpt), [""; 0], "the last cluster of a disk with a GPT");
    }

    #[test]
    fn what_is_refused_by_its_head_is_not_carried_to_its_end() {
        let mut disk = samples::qcow2();
        disk.resize(1 << 20, 0);
        disk[8..16].copy_from_slice(&1024_u64.to_be_bytes());
        let (ranged, cost) = drive(&disk[..], Access::Ranged);
        assert_eq!(ranged.unwrap().hazards.len(), 1);
        assert_eq!(cost.requests, 2);
        for access in [Access::InOrder, Access::Unknown] {
            let (verdict, cost) = drive(&disk[..], access);
            let codes: Vec<_> = verdict.unwrap().hazards.into_iter().map(|hazard| hazard.code).collect();
            assert_eq!(codes, ["qcow2-backing-file", "tail-not-inspected"]);
            assert_eq!(cost.bytes, FIRST_READ);
        }
    }

    #[test]
    fn another_format_than_the_expected_one_is_told_before_the_tail() {
        let first = Request::At { offset: 0, len: FIRST_READ as u32 };
        let seen = |disk: &[u8], expected: &str| {
            let mut view = View::new(Some(1 << 30));
            view.answer(first, disk[..65_536].to_vec());
            view.in_order();
            view.expect(Some(expected.to_owned()));
            detect(&view).unwrap()
        };
        let told = |answer: Answer| match answer {
            Answer::Verdict(verdict) => {
                (verdict.format, verdict.hazards.into_iter().map(|hazard| hazard.code).collect::<Vec<_>>())
            }
            Answer::Need(request) => panic!("{request:?}"),
        };
        let tail = Answer::Need(Request::Tail { len: TAIL as u32 });
        let mut qcow2 = samples::qcow2();
        qcow2.resize(65_536.max(qcow2.len()), 0);
        assert_eq!(told(seen(&qcow2, "raw")), ("qcow2", vec!["tail-not-inspected"]));
        assert!(matches!(seen(&qcow2, "qcow2"), Answer::Need(Request::At { offset: 0x3_0000, .. })), "its L1 table");
        let raw = vec![7; 65_536];
        assert_eq!(told(seen(&raw, "qcow2")), ("raw", vec!["tail-not-inspected"]));
        for at_the_tail in WITHOUT_MARK {
            assert_eq!(seen(&raw, at_the_tail), tail, "{at_the_tail}");
        }
    }

    #[test]
    fn a_size_that_no_machine_has_is_told() {
        let mut disk = samples::parallels(true);
        disk[28..32].copy_from_slice(&0x3F_0000_u32.to_le_bytes());
        disk[36..44].copy_from_slice(&((1_u64 << 46) / 512 + 1).to_le_bytes());
        disk[32..36].copy_from_slice(&(1_u32 << 20).to_le_bytes());
        assert_eq!(codes(&disk), ["parallels-truncated", "virtual-size-huge"]);
    }

    #[test]
    fn names_of_formats_fit_the_interface_and_are_there_once() {
        let mut names: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FORMATS.len());
    }
}
