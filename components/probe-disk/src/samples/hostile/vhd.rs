//! VHDs that are refused.

use super::Change;
use super::Expected::{self, Malformed, Refused};
use crate::samples::disks::{be64, put, vpc_checksum, vpc_footer, vpc_of_type};

/// A change of the dynamic disk header with its checksum made anew.
fn dynamic(image: &mut [u8], at: usize, bytes: &[u8]) {
    put(image, 512 + at, bytes);
    vpc_checksum(image, 512, 1024, 36);
}

pub(super) const VPC: [(&str, Expected, Change); 17] = [
    ("vpc: differencing", Refused("vpc-differencing"), |i| *i = vpc_of_type(4)),
    ("vpc: type 9", Refused("vpc-type"), |i| *i = vpc_of_type(9)),
    ("vpc: type 2 with a copy at the start", Refused("vpc-type"), |i| {
        *i = vpc_of_type(2);
        be64(i, 16, 512);
        vpc_checksum(i, 0, 512, 64);
    }),
    ("vpc: parent's uuid", Refused("vpc-parent"), |i| dynamic(i, 40, &[1])),
    ("vpc: parent's name", Refused("vpc-parent"), |i| dynamic(i, 64, b"\0p\0a")),
    ("vpc: parent's locator", Refused("vpc-parent"), |i| dynamic(i, 576, b"W2ru")),
    ("vpc: header at the last offset there is", Malformed("ends inside its dynamic disk header"), |i| {
        be64(i, 16, u64::MAX - 3);
        vpc_checksum(i, 0, 512, 64);
    }),
    ("vpc: checksum of the footer", Malformed("checksum at 64"), |i| i[70] ^= 1),
    ("vpc: checksum of the header", Malformed("checksum at 548"), |i| i[600] ^= 1),
    ("vpc: block size 0", Malformed("block_size at 544"), |i| dynamic(i, 32, &[0; 4])),
    ("vpc: too few blocks", Malformed("max_table_entries at 540"), |i| dynamic(i, 28, &[0, 0, 0, 1])),
    ("vpc: over 2040 GiB", Malformed("current_size at 48"), |i| {
        be64(i, 48, 1 << 50);
        vpc_checksum(i, 0, 512, 64);
    }),
    ("vpc: another footer at the end", Refused("vpc-footer-differs"), |i| {
        let at = i.len() - 512;
        put(i, at, &vpc_footer(32 << 20, 3));
    }),
    ("vpc: table over the header", Refused("table-overlap"), |i| dynamic(i, 16, &1535_u64.to_be_bytes())),
    ("vpc: table over the footer's copy", Refused("table-overlap"), |i| dynamic(i, 16, &[0; 8])),
    ("vpc: table behind the end", Refused("vpc-truncated"), |i| dynamic(i, 16, &(1_u64 << 40).to_be_bytes())),
    ("vpc: no footer at the end", Refused("vpc-footer-missing"), |i| i.truncate(i.len() - 512)),
];

pub(super) const VPC_FIXED: [(&str, Expected, Change); 7] = [
    ("vpc: fixed and shorter than it says", Refused("vpc-size-differs"), |i| {
        i.drain(..512);
    }),
    ("vpc: fixed and longer than it says", Refused("vpc-size-differs"), |i| i.splice(..0, [0; 512]).for_each(drop)),
    ("vpc: dynamic by its footer alone", Refused("vpc-type"), |i| {
        let at = i.len() - 512;
        put(i, at, &vpc_footer(1 << 20, 3));
    }),
    ("vpc: footer of 511 bytes", Refused("vpc-old-footer"), |i| i.truncate(i.len() - 1)),
    ("vpc: footer of 412 bytes", Refused("vpc-old-footer"), |i| i.truncate(i.len() - 100)),
    ("vpc: footer of 85 bytes", Refused("vpc-old-footer"), |i| i.truncate(i.len() - 427)),
    ("vpc: footer of 68 bytes, without a UUID", Refused("vpc-old-footer"), |i| {
        let at = i.len() - 512;
        i[at + 68..].fill(0);
        vpc_checksum(i, at, 512, 64);
        i.truncate(at + 68);
    }),
];
