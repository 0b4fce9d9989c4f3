//! Disks made by code, for tests and for the seeds of the fuzz targets: legal ones and hostile ones, none of them stored.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "made for tests: a sample that cannot be made is to fail loudly"
)]

mod disks;
mod hostile;
mod large;
mod legal;
mod sparse;

pub use disks::{
    dmg, gpt, iso, luks1, luks2, luks2_of, mbr, parallels, qcow, qcow2, qed, tar, udf, vdi, vhdx, vmdk, vmdk_stream,
    vpc, vpc_fixed, vpc_footer,
};
pub use hostile::{Expected, Hostile, hostile};
pub use large::{Large, large, xz};
pub use legal::{Legal, legal};
pub use sparse::Sparse;

use crate::{Answer, Malformed, Request, Verdict, View, detect};

/// How a disk is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// By range, its size known.
    Ranged,
    /// In order, its size known.
    InOrder,
    /// In order, its size unknown, as standard input is.
    Unknown,
    /// In order, its size unknown, and no more than so many bytes of it, as what is in a wrapper is shown.
    Beginning(u64),
}

/// A disk that can be asked for its bytes.
pub trait Disk {
    /// Bytes in all.
    fn size(&self) -> u64;
    /// `len` bytes at `offset`, fewer at the end.
    fn read(&self, offset: u64, len: u64) -> Vec<u8>;
}

impl Disk for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, len: u64) -> Vec<u8> {
        let (from, to) = (offset.min(self.size()), offset.saturating_add(len).min(self.size()));
        self[from as usize..to as usize].to_vec()
    }
}

/// The head of a disk, and zeros behind it.
#[derive(Clone, Copy, Debug)]
pub struct Long<'a> {
    /// The first bytes.
    pub head: &'a [u8],
    /// Bytes in all.
    pub size: u64,
}

impl Disk for Long<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, len: u64) -> Vec<u8> {
        let mut bytes = self.head.read(offset, len);
        bytes.resize(len.min(self.size.saturating_sub(offset)) as usize, 0);
        bytes
    }
}

impl Disk for std::fs::File {
    fn size(&self) -> u64 {
        self.metadata().unwrap().len()
    }

    fn read(&self, offset: u64, len: u64) -> Vec<u8> {
        let size = Disk::size(self);
        let (from, to) = (offset.min(size), offset.saturating_add(len).min(size));
        let mut bytes = vec![0; (to - from) as usize];
        std::os::unix::fs::FileExt::read_exact_at(self, &mut bytes, from).unwrap();
        bytes
    }
}

/// What was read of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Requests.
    pub requests: usize,
    /// Bytes answered.
    pub bytes: u64,
    /// Bytes that a disk that is read in order has let flow by then.
    pub flowed: u64,
}

/// Drives [`detect()`] over a disk as the component does.
///
/// # Errors
/// The verdict's.
pub fn drive(disk: &(impl Disk + ?Sized), access: Access) -> (Result<Verdict, Malformed>, Cost) {
    drive_with(disk, access, detect)
}

/// As [`drive()`], with another function in the place of [`detect()`].
///
/// # Errors
/// The function's.
pub fn drive_with(
    disk: &(impl Disk + ?Sized),
    access: Access,
    detect: impl Fn(&View) -> Result<Answer, Malformed>,
) -> (Result<Verdict, Malformed>, Cost) {
    drive_expecting(disk, access, None, detect)
}

/// As [`drive_with()`], where the user says that the disk has a format.
///
/// # Errors
/// The function's.
pub fn drive_expecting(
    disk: &(impl Disk + ?Sized),
    access: Access,
    expected: Option<&str>,
    detect: impl Fn(&View) -> Result<Answer, Malformed>,
) -> (Result<Verdict, Malformed>, Cost) {
    let mut view = View::new(matches!(access, Access::Ranged | Access::InOrder).then(|| disk.size()));
    let shown = if let Access::Beginning(shown) = access { shown } else { u64::MAX };
    view.partial(shown != u64::MAX);
    view.expect(expected.map(str::to_owned));
    let (mut cost, mut position) = (Cost::default(), 0);
    loop {
        let request = match detect(&view) {
            Ok(Answer::Verdict(verdict)) => return (Ok(verdict), cost),
            Ok(Answer::Need(request)) => request,
            Err(why) => return (Err(why), cost),
        };
        cost.requests += 1;
        assert!(cost.requests <= crate::MAX_REQUESTS, "{request:?} is one too many");
        let bytes = match request {
            Request::At { offset, .. } if access != Access::Ranged && offset < position => {
                view.refuse(request);
                continue;
            }
            Request::At { offset, len } if offset.saturating_add(u64::from(len)) > shown && disk.size() > shown => {
                (position, _) = (shown, view.refuse(request));
                continue;
            }
            Request::Tail { .. } if disk.size() > shown => {
                (position, _) = (shown, view.refuse(request));
                continue;
            }
            Request::At { offset, len } => {
                position = position.max((offset + u64::from(len)).min(disk.size()));
                disk.read(offset, u64::from(len))
            }
            Request::Tail { len } => {
                position = disk.size();
                disk.read(disk.size().saturating_sub(u64::from(len)), u64::from(len))
            }
        };
        cost.bytes += bytes.len() as u64;
        cost.flowed = if access == Access::Ranged { 0 } else { position };
        assert!(cost.bytes <= crate::MAX_BYTES, "{request:?} is too much");
        view.answer(request, bytes);
        if access != Access::Ranged {
            view.in_order();
        }
    }
}

/// What is said of a disk with ranges.
///
/// # Errors
/// The verdict's.
pub fn settled(disk: &[u8]) -> Result<Verdict, Malformed> {
    drive(disk, Access::Ranged).0
}
