//! Disks that are refused, each with what refuses it.

mod others;
mod qcow;
mod vhd;
mod vhdx;
mod vmdk;

use super::disks;
use others::{GPT, ISO, LUKS, OTHERS, PARALLELS, VDI};
use qcow::{QCOW, QCOW2, QED};
use vhd::{VPC, VPC_FIXED};
use vhdx::VHDX;
use vmdk::{VMDK, VMDK_STREAM, descriptors};

/// What comes of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A hazard that refuses, of this code.
    Refused(&'static str),
    /// A hazard that does not refuse, of this code, beside one that does.
    Told(&'static str),
    /// Malformed, in words that contain these.
    Malformed(&'static str),
}

/// A disk that is refused.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// What is wrong with it.
    pub name: &'static str,
    /// The disk.
    pub image: Vec<u8>,
    /// What is said of it.
    pub expected: Expected,
}

type Change = fn(&mut Vec<u8>);

/// All of them.
#[must_use]
pub fn hostile() -> Vec<Hostile> {
    let mut all = Vec::new();
    let mut add = |base: &dyn Fn() -> Vec<u8>, rows: &[(&'static str, Expected, Change)]| {
        for (name, expected, change) in rows {
            let mut image = base();
            change(&mut image);
            all.push(Hostile { name, image, expected: *expected });
        }
    };
    add(&disks::qcow2, &QCOW2);
    add(&disks::qcow, &QCOW);
    add(&disks::qed, &QED);
    add(&disks::vmdk, &VMDK);
    add(&disks::vmdk_stream, &VMDK_STREAM);
    add(&disks::vpc, &VPC);
    add(&disks::vpc_fixed, &VPC_FIXED);
    add(&|| disks::vhdx(2), &VHDX);
    add(&disks::vdi, &VDI);
    add(&|| disks::parallels(true), &PARALLELS);
    add(&disks::luks1, &LUKS);
    add(&disks::iso, &ISO);
    add(&|| disks::gpt(512), &GPT);
    add(&|| vec![0; 70_000], &OTHERS);
    for (name, text) in descriptors() {
        all.push(Hostile { name, image: text.into_bytes(), expected: Expected::Refused("vmdk-external-extent") });
    }
    all
}
