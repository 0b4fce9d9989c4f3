//! What longshore promises of a hurt transfer, in one place: what is not built yet is switched on here.

use longshore::registry::Transition;
use serde_json::Value;

use super::leg::{Carriage, Fault, Kind, Way};
use super::recorded::Manner;
use super::schedule::{SIDES, Setting, Side};
use super::stage::RegistryKind;

/// A broken read of a source with ranges is continued where it broke.
pub const SOURCE_RESUMES: bool = true;
/// A broken upload is continued where the registry keeps the session, and begun again where it does not, if the source can be
/// read again.
pub const UPLOAD_RESUMES: bool = true;

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
        Side::Registry => match setting.registry {
            RegistryKind::Recorded(Manner::Odd(oddity)) => UPLOAD_RESUMES && oddity.is_survived(),
            _ => UPLOAD_RESUMES,
        },
    };
    let passes = match kind {
        // TLS notices, and ends the connection.
        Kind::Corrupt { .. } | Kind::Duplicate { .. } => setting.carriage(side) == Carriage::Under,
        // Only the recorded ones have a token server.
        Kind::Status(401) => side == Side::Registry && matches!(setting.registry, RegistryKind::Recorded(_)),
        Kind::Status(status) => matches!(status, 408 | 429 | 500..),
        _ => true,
    };
    continues && passes
}

/// Whether half a request was all that arrived and was answered as such: nobody can tell that from a registry's decision.
pub fn answered_halfway(hits: &[Vec<Fault>; 2], words: &str) -> bool {
    let halved = |fault: &Fault| fault.way == Way::Up && fault.kind == Kind::Truncate;
    words.contains("the registry answered 400") && hits[Side::Registry as usize].iter().any(halved)
}

/// Ways of an upload on which it begins again although the registry had some of it.
const IN_VAIN: [Transition; 4] =
    [Transition::Lost, Transition::SessionUnknown, Transition::ClaimsTooMuch, Transition::Unsettled];

/// Whether an upload must not begin again at its first byte: the registry resumes, the bytes can be had again (all of the
/// trials' disk that was sent is in memory, or the source has ranges), and nobody told either of them anything wrong.
pub fn never_begins_again(setting: Setting, hits: &[Vec<Fault>; 2]) -> bool {
    let misled = |fault: &Fault| matches!(fault.kind, Kind::Status(404 | 416));
    let resumes = match setting.registry {
        RegistryKind::Distribution3 => true,
        RegistryKind::Recorded(Manner::Odd(oddity)) => oddity.resumes(),
        _ => false,
    };
    resumes && registry_understood(setting, hits) && !hits[Side::Registry as usize].iter().any(misled)
}

/// How often an upload that went these ways began again in vain.
pub fn restarts_in_vain(ways: &Value) -> u64 {
    IN_VAIN.iter().filter_map(|way| ways[way.as_str()].as_u64()).sum()
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
