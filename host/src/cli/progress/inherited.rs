//! A descriptor that whoever started us left open.

use std::fs::{File, OpenOptions};
use std::io;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// The access mode among the flags in /proc/self/fdinfo (open(2)), and the mode that cannot write.
const ACCESS_MODE: u32 = 0o3;
const READ_ONLY: u32 = 0;

/// A duplicate of descriptor `number`, if it is open for writing and is neither standard input nor standard output.
///
/// # Errors
/// Words for the user.
pub(super) fn writable(number: i32) -> Result<File, String> {
    match number {
        0 => return Err("this is standard input".to_owned()),
        1 => return Err("this is standard output, which carries data only".to_owned()),
        ..0 => return Err("expected the number of an open descriptor".to_owned()),
        _ => {}
    }
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"))
        .map_err(|_| "there is no such descriptor open".to_owned())?;
    match flags(&about) {
        Some(flags) if flags & ACCESS_MODE != READ_ONLY => {}
        _ => return Err("the descriptor is not open for writing".to_owned()),
    }
    duplicate(number).or_else(|_| reopen(number)).map_err(|why| format!("the descriptor cannot be used: {why}"))
}

fn flags(about: &str) -> Option<u32> {
    let line = about.lines().find_map(|line| line.strip_prefix("flags:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

/// The same open file (pidfd_getfd(2)): what a number alone can be turned into without trusting it.
fn duplicate(number: i32) -> io::Result<File> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(File::from(pidfd_getfd(own, number, PidfdGetfdFlags::empty())?))
}

/// The same file opened again, where a sandbox forbids the call above. Does not work for sockets.
fn reopen(number: i32) -> io::Result<File> {
    OpenOptions::new().append(true).open(format!("/proc/self/fd/{number}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_pipe_is_written_to_either_way() {
        let (mut reader, writer) = io::pipe().unwrap();
        for open in [writable, |number| reopen(number).map_err(|why| why.to_string())] {
            open(writer.as_raw_fd()).unwrap().write_all(b"x").unwrap();
            let mut read = [0];
            reader.read_exact(&mut read).unwrap();
            assert_eq!(&read, b"x");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let (reader, _writer) = io::pipe().unwrap();
        assert!(writable(reader.as_raw_fd()).unwrap_err().contains("not open for writing"));
        assert!(writable(0).unwrap_err().contains("standard input"));
        assert!(writable(1).unwrap_err().contains("standard output"));
        assert!(writable(-1).is_err());
        assert!(writable(999_999).unwrap_err().contains("no such descriptor"));
    }
}
