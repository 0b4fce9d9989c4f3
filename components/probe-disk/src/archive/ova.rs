//! OVA (DSP0243 "Open Virtualization Format Specification" 2.1.1, 6.2 "OVF package options"): a tar whose first member is the
//! description of a machine.

use super::{refused, tar};
use crate::detect::Mark;
use crate::view::Stop;
use crate::{Verdict, View};

/// "The OVF descriptor extension .ovf".
const DESCRIPTOR: &[u8] = b".ovf";

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    tar::mark(head, "OVA").filter(|_| tar::name(head).to_ascii_lowercase().ends_with(DESCRIPTOR))
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    Ok(refused("ova", &tar::first_member(view)?))
}
