//! What longshore promises of a hurt transfer, in one place: what is not built yet is switched on here.

use super::leg::{Carriage, Fault, Kind};
use super::recorded::Manner;
use super::schedule::{SIDES, Setting, Side};
use super::stage::RegistryKind;

/// A broken read of a source with ranges is continued where it broke.
pub const SOURCE_RESUMES: bool = true;
/// A broken upload is continued where the registry keeps the session.
pub const UPLOAD_RESUMES: bool = false;

/// Whether a transfer must succeed although these faults struck.
pub fn must_succeed(setting: Setting, hits: &[Vec<Fault>; 2]) -> bool {
    SIDES.iter().all(|side| hits[*side as usize].iter().all(|fault| is_survived(setting, *side, fault.kind)))
}

fn is_survived(setting: Setting, side: Side, kind: Kind) -> bool {
    if kind.only_delays() {
        return true;
    }
    let continues = match side {
        Side::Source => SOURCE_RESUMES && setting.ranged,
        Side::Registry => UPLOAD_RESUMES && setting.registry == RegistryKind::Distribution3,
    };
    let passes = match kind {
        // TLS notices, and ends the connection.
        Kind::Corrupt { .. } | Kind::Duplicate { .. } => setting.carriage(side) == Carriage::Under,
        Kind::Status(status) => status == 429 || status >= 500,
        _ => true,
    };
    continues && passes
}

/// The sides that an error may name after these faults.
pub fn at_fault(setting: Setting, hits: &[Vec<Fault>; 2]) -> Vec<Side> {
    let endless = |fault: &Fault| fault.kind == Kind::HalfOpen;
    // zot loses its patience before longshore does, whoever it is that says nothing any more.
    let impatient = setting.registry == RegistryKind::Recorded(Manner::Zot) && hits.iter().flatten().any(endless);
    let hurt = |side: &Side| hits[*side as usize].iter().any(|fault| !fault.kind.only_delays());
    SIDES.into_iter().filter(|side| hurt(side) || (impatient && *side == Side::Registry)).collect()
}

/// Whether the registry was asked for exactly what longshore asked it for: else what is there may have any name.
pub fn registry_understood(setting: Setting, hits: &[Vec<Fault>; 2]) -> bool {
    setting.upload == Carriage::Under || !hits[Side::Registry as usize].iter().any(|fault| fault.kind.garbles())
}
