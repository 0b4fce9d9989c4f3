//! zip (APPNOTE 6.3), entry by entry as it comes: what the entries say of themselves counts, and the central directory behind
//! them must say the same of the disk and of their number. Most readers begin at the other end, so that the end must lead to that
//! directory, and nothing may stand behind it.

use std::fmt;

use filter_core::{Announced, Crc, Inflate, Pending, Refusal, Step};

use crate::choosing::{Choosing, MAX_DESCRIPTOR, Role, shown};
use crate::zip_header::{self, Central, Directory, End, Local, Locator, WideEnd};
use crate::{copied, nothing_behind, passed};

/// What an entry that nobody wants is inflated into, to find its end.
const SCRATCH_BYTES: usize = 32 << 10;

/// An archive as it comes in.
pub(crate) struct Zip {
    part: Part,
    held: Pending,
    scratch: Vec<u8>,
    choosing: Choosing,
    entries: u64,
    /// Bytes that were taken before this step.
    before: u64,
    /// The central directory as it is.
    directory: Directory,
    /// The disk's entry as it turned out.
    disk: Option<Found>,
    disk_listed: bool,
    /// Whether the last entry of the directory ends with what reads as a locator.
    ends_in_locator: bool,
    /// Where the end in 64 bits stands, and whether its locator was read.
    wide: Option<(u64, bool)>,
}

/// What comes next.
#[derive(Debug)]
enum Part {
    /// A signature says what.
    Signature,
    /// An entry's header, and what is behind its fixed part.
    Local,
    /// So many bytes that nobody wants.
    PassedOver(u64),
    Data(Box<Data>),
    /// What stands behind data of a length unknown before.
    Descriptor(Box<Data>),
    Central,
    /// The end of the directory in 64 bits, its locator, and the end that every archive has.
    WideEnd,
    Locator,
    End,
    Behind,
}

/// An entry's data.
#[derive(Debug)]
struct Data {
    local: Local,
    role: Role,
    inflate: Option<Inflate>,
    crc: Crc,
    taken: u64,
    given: u64,
    /// An OVF descriptor, gathered.
    bytes: Vec<u8>,
}

/// What is remembered of the disk's entry.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    name: Vec<u8>,
    crc: u32,
    size: u64,
}

impl Zip {
    /// With what was read of it already.
    pub(crate) fn new(held: Pending) -> Self {
        Self {
            part: Part::Signature,
            before: held.held().len() as u64,
            held,
            scratch: Vec::new(),
            choosing: Choosing::default(),
            entries: 0,
            directory: Directory::default(),
            disk: None,
            disk_listed: false,
            ends_in_locator: false,
            wide: None,
        }
    }

    pub(crate) const fn announced(&self) -> Option<&Announced> {
        self.choosing.announced()
    }

    pub(crate) fn step(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Result<Step, Refusal> {
        let mut step = Step::default();
        while step.given == 0 && !step.ended {
            let rest = input.get(step.taken..).unwrap_or_default();
            match &mut self.part {
                Part::Signature => {
                    step.taken += self.held.fill(rest, 4);
                    let Some(signature) = self.held.held().first_chunk::<4>() else { break };
                    let taken = self.before.saturating_add(step.taken as u64);
                    self.part = self.signature(*signature, taken.saturating_sub(self.held.held().len() as u64))?;
                }
                Part::Local => {
                    let needed = Local::bytes(self.held.held());
                    step.taken += self.held.fill(rest, needed);
                    if self.held.held().len() < needed {
                        break;
                    }
                    if needed == Local::bytes(self.held.held()) {
                        let local = Local::read(self.held.held())?;
                        self.held.used(needed);
                        self.part = self.entry(local)?;
                    }
                }
                Part::PassedOver(0) => self.part = Part::Signature,
                Part::PassedOver(left) => {
                    let more = passed(rest, *left);
                    *left = left.saturating_sub(more as u64);
                    step.taken += more;
                    if more == 0 {
                        break;
                    }
                }
                Part::Data(data) => {
                    let (taken, given, ended) = data.step(rest, output, &mut self.scratch)?;
                    step.taken += taken;
                    step.given = given;
                    if ended {
                        self.ended()?;
                    } else if given == 0 && taken == 0 {
                        break;
                    }
                }
                Part::Descriptor(data) => {
                    step.taken += self.held.fill(rest, zip_header::MAX_DATA_DESCRIPTOR);
                    let over = last && step.taken == input.len();
                    let held = self.held.held();
                    if held.len() < zip_header::MAX_DATA_DESCRIPTOR && !over {
                        break;
                    }
                    let found = zip_header::data_descriptor(held, data.crc.sum(), data.taken, data.given);
                    let used = found.ok_or_else(|| {
                        Refusal::invalid(format!(
                            "{} in the zip archive does not have the checksum and sizes behind it",
                            shown(&data.local.name())
                        ))
                    })?;
                    self.held.used(used);
                    self.whole()?;
                }
                Part::Central => {
                    let needed = Central::bytes(self.held.held());
                    step.taken += self.held.fill(rest, needed);
                    if self.held.held().len() < needed {
                        break;
                    }
                    if needed == Central::bytes(self.held.held()) {
                        self.central(needed)?;
                    }
                }
                Part::WideEnd => {
                    step.taken += self.held.fill(rest, WideEnd::BYTES);
                    if self.held.held().len() < WideEnd::BYTES {
                        break;
                    }
                    WideEnd::read(self.held.held(), &self.directory)?;
                    self.held.used(WideEnd::BYTES);
                    self.part = Part::Signature;
                }
                Part::Locator => {
                    step.taken += self.held.fill(rest, Locator::BYTES);
                    if self.held.held().len() < Locator::BYTES {
                        break;
                    }
                    let (at, _) = self.wide.unwrap_or_default();
                    Locator::read(self.held.held(), at)?;
                    self.held.used(Locator::BYTES);
                    self.wide = Some((at, true));
                    self.part = Part::Signature;
                }
                Part::End => {
                    let needed = End::bytes(self.held.held());
                    step.taken += self.held.fill(rest, needed);
                    if self.held.held().len() < needed {
                        break;
                    }
                    if needed == End::bytes(self.held.held()) {
                        End::read(
                            self.held.held().get(..needed).unwrap_or_default(),
                            &self.directory,
                            self.wide.is_some(),
                        )?;
                        self.held.used(needed);
                        self.part = Part::Behind;
                    }
                }
                Part::Behind => {
                    nothing_behind("zip", self.held.held())?;
                    nothing_behind("zip", rest)?;
                    step.taken = input.len();
                    step.ended = last;
                    break;
                }
            }
        }
        self.before = self.before.saturating_add(step.taken as u64);
        if last && step.taken == input.len() && step.given == 0 && !step.ended {
            return Err(Refusal::invalid("the zip archive ends before its end"));
        }
        Ok(step)
    }

    /// What the signature that stands `at` there begins.
    fn signature(&mut self, signature: [u8; 4], at: u64) -> Result<Part, Refusal> {
        let malformed = "the zip archive is malformed: no entry and no directory where one should be";
        match &signature {
            b"PK\x03\x04" if self.directory.entries == 0 && self.wide.is_none() => Ok(Part::Local),
            b"PK\x01\x02" if self.wide.is_none() => {
                self.directory.begins(at);
                Ok(Part::Central)
            }
            // An extra data record would only stand in front of an encrypted directory.
            b"PK\x06\x08" => Err(Refusal::invalid("the directory of the zip archive is encrypted, which is not read")),
            b"PK\x07\x08" | b"PK00" if self.entries == 0 => {
                Err(Refusal::invalid("the zip archive is one of several pieces, which are not read"))
            }
            b"PK\x06\x07" if matches!(self.wide, Some((_, false))) => Ok(Part::Locator),
            b"PK\x05\x06" if matches!(self.wide, Some((_, true))) => Ok(Part::End),
            // The end of the directory, with 64 bits or without.
            b"PK\x06\x06" | b"PK\x05\x06" if self.wide.is_none() => {
                self.choosing.over()?;
                if self.directory.entries != self.entries || self.disk.is_some() != self.disk_listed {
                    return Err(Refusal::invalid("the zip archive's directory does not list what is in the archive"));
                }
                self.directory.ends(at);
                if &signature == b"PK\x05\x06" {
                    // Most readers look for one right in front of this end.
                    return match self.ends_in_locator {
                        true => Err(Refusal::invalid("another end of the zip archive stands in its directory")),
                        false => Ok(Part::End),
                    };
                }
                self.wide = Some((at, false));
                Ok(Part::WideEnd)
            }
            _ => Err(Refusal::invalid(malformed)),
        }
    }

    /// What is to be done with an entry.
    fn entry(&mut self, local: Local) -> Result<Part, Refusal> {
        self.entries = self.entries.saturating_add(1);
        let name = local.name();
        let size = (!local.sizes_follow()).then_some(local.size);
        let role = if name.ends_with('/') { Role::Other } else { self.choosing.file(&name, size)? };
        if role == Role::Other && !local.sizes_follow() {
            return Ok(Part::PassedOver(local.packed));
        }
        local.readable()?;
        Ok(Part::Data(Box::new(Data {
            inflate: local.is_deflated().then(Inflate::new),
            local,
            role,
            crc: Crc::default(),
            taken: 0,
            given: 0,
            bytes: Vec::new(),
        })))
    }

    /// The data have ended.
    fn ended(&mut self) -> Result<(), Refusal> {
        let Part::Data(data) = std::mem::replace(&mut self.part, Part::Signature) else { return Ok(()) };
        let follow = data.local.sizes_follow();
        self.part = Part::Descriptor(data);
        if follow { Ok(()) } else { self.whole() }
    }

    /// An entry is whole.
    fn whole(&mut self) -> Result<(), Refusal> {
        let Part::Descriptor(data) = std::mem::replace(&mut self.part, Part::Signature) else { return Ok(()) };
        let local = &data.local;
        if !local.sizes_follow() && (data.crc.sum(), data.taken, data.given) != (local.crc, local.packed, local.size) {
            return Err(Refusal::invalid(format!(
                "{} in the zip archive does not have the checksum or the sizes that it states",
                shown(&local.name())
            )));
        }
        match data.role {
            Role::Disk => {
                self.disk = Some(Found { name: local.raw_name.clone(), crc: data.crc.sum(), size: data.given });
            }
            Role::Descriptor => self.choosing.descriptor(&data.bytes)?,
            Role::Other => {}
        }
        Ok(())
    }

    fn central(&mut self, needed: usize) -> Result<(), Refusal> {
        let central = Central::read(self.held.held())?;
        self.held.used(needed);
        self.ends_in_locator = central.ends_in_locator;
        self.directory.entries = self.directory.entries.saturating_add(1);
        let listed = Found { name: central.raw_name, crc: central.crc, size: central.size };
        if self.disk.as_ref().is_some_and(|disk| *disk == listed) {
            self.disk_listed = true;
        }
        self.part = Part::Signature;
        Ok(())
    }
}

impl Data {
    /// Taken, given to the output, and whether that was all.
    fn step(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        scratch: &mut Vec<u8>,
    ) -> Result<(usize, usize, bool), Refusal> {
        if self.role != Role::Disk {
            scratch.resize(SCRATCH_BYTES, 0);
        }
        let to = if self.role == Role::Disk { output } else { &mut **scratch };
        let (taken, given, ended) = match &mut self.inflate {
            None => {
                let moved = copied(input, to, self.local.packed.saturating_sub(self.taken));
                (moved, moved, self.taken.saturating_add(moved as u64) == self.local.packed)
            }
            Some(inflate) => {
                let left = match self.local.sizes_follow() {
                    true => u64::MAX,
                    false => self.local.packed.saturating_sub(self.taken),
                };
                let input = input.get(..passed(input, left)).unwrap_or_default();
                let name = || shown(&self.local.name());
                let malformed =
                    |_| Refusal::invalid(format!("the data of {} in the zip archive are malformed", name()));
                let (taken, given, ended) = inflate.step(input, to).map_err(malformed)?;
                if !ended && taken == 0 && given == 0 && left == 0 {
                    return Err(Refusal::invalid(format!("the data of {} in the zip archive do not end", name())));
                }
                (taken, given, ended)
            }
        };
        let out = to.get(..given).unwrap_or_default();
        self.crc.update(out);
        self.taken = self.taken.saturating_add(taken as u64);
        self.given = self.given.saturating_add(given as u64);
        if self.role == Role::Descriptor {
            self.bytes.extend_from_slice(out);
            if self.bytes.len() as u64 > MAX_DESCRIPTOR {
                return Err(Refusal::limit(format!("the OVF descriptor has more than {MAX_DESCRIPTOR} bytes")));
            }
        }
        Ok((taken, if self.role == Role::Disk { given } else { 0 }, ended))
    }
}

impl fmt::Debug for Zip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zip").field("part", &self.part).field("choosing", &self.choosing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
