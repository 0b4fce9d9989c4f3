//! VMDK (VMware "Virtual Disk Format 5.0"; bounds of QEMU `block/vmdk.c`). A hosted sparse extent that carries its own
//! descriptor is a disk in one file. Everything else is a list of files, or one file of such a list.

mod descriptor;
mod sparse;

use crate::detect::Mark;
use crate::fields::Fields;
use crate::view::Stop;
use crate::{Verdict, View};

const SECTOR: u64 = 512;

const SPARSE: &[u8] = b"KDMV";
const COWD: &[u8] = b"COWD";
/// `SESPARSE_CONST_HEADER_MAGIC` and the version 2.1: the first half alone is Java's and Mach-O's too.
const SESPARSE: &[u8] = b"\xbe\xba\xfe\xca\0\0\0\0\x01\0\0\0\x02\0\0\0";

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, SPARSE, "VMDK (hosted sparse)")
        .or_else(|| Mark::find(head, 0, COWD, "VMDK (COWD)"))
        .or_else(|| Mark::find(head, 0, SESPARSE, "VMDK (seSparse)"))
        .or_else(|| descriptor::marked(head))
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let head = view.at(0, SECTOR)?;
    if head.starts_with(SPARSE) {
        sparse::inspect(view)
    } else if head.starts_with(COWD) {
        // ESX "COW disk": the size in sectors at 12.
        let sectors = u64::from(Fields::new("vmdk", "header", 0, head).le32(12)?);
        Ok(extent_alone("COWD", sectors))
    } else if head.starts_with(SESPARSE) {
        // QEMU `VMDKSESparseConstHeader.capacity`, which QEMU does not look for in a bare extent: to it that is raw.
        let fields = Fields::new("vmdk", "header", 0, head);
        let sectors = fields.check("capacity", 16, fields.le64(16)?, 0, i64::MAX as u64 / SECTOR)?;
        Ok(extent_alone("seSparse", sectors))
    } else {
        descriptor::inspect(view)
    }
}

/// One file of several.
fn extent_alone(kind: &str, sectors: u64) -> Verdict {
    let mut verdict = Verdict::new("vmdk", Some(sectors * SECTOR));
    verdict.detail("create-type", kind);
    verdict.refuse(
        "vmdk-extent-alone",
        format!("an extent of {kind} by its mark at 0, without the descriptor that it is a part of"),
    );
    verdict
}
