//! The file beside the one that is wanted, until all of it is verified. What a run leaves of it a later one goes on with.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::error::{Code, Error, Result, Stage};

/// The most bytes of the wanted name that are in the part's: with what stands around them it still is a name.
const MAX_NAME: usize = 200;
/// Digits of the digest in it.
const DIGITS: usize = 16;

/// A part, locked as long as its file is open.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    wanted: PathBuf,
    force: bool,
    /// Bytes that were there when it was opened.
    pub(super) already: u64,
}

impl Part {
    /// Opens the part of a disk of `size` bytes for the file `wanted`. One of the same `revision` that an earlier run left is
    /// gone on with if it `continues`.
    pub(super) fn open(wanted: &Path, force: bool, revision: &str, size: u64, continues: bool) -> Result<Self> {
        let path = beside(wanted, revision)?;
        let file = create(&path).map_err(|why| failed(&path.display().to_string(), "cannot be made", why))?;
        Self::locked((file, path), (wanted, force), size, continues)
    }

    /// The same, once it is open: between that and the lock another export may have ended.
    fn locked(
        (file, path): (File, PathBuf),
        (wanted, force): (&Path, bool),
        size: u64,
        continues: bool,
    ) -> Result<Self> {
        let shown = path.display().to_string();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("`{shown}` is being written by another export");
                return Err(Error::new(Code::LocalFile, Stage::Upload, message));
            }
            Err(TryLockError::Error(why)) => return Err(failed(&shown, "cannot be locked", why)),
        }
        // Who had the lock until now may have given the file its name: it is the disk then, and nobody's part.
        if !is_at(&file, &path).map_err(|why| failed(&shown, "cannot be looked at", why))? {
            let message = format!("`{shown}` was written by another export, which has just ended");
            return Err(Error::new(Code::LocalFile, Stage::Upload, message).hint("look what is there, and try again"));
        }
        if force && let Ok(replaced) = fs::metadata(wanted) {
            // Nobody is to read it who could not read what it replaces.
            file.set_permissions(replaced.permissions()).map_err(|why| failed(&shown, "cannot be made", why))?;
        }
        let length = file.metadata().map_err(|why| failed(&shown, "cannot be looked at", why))?.len();
        let already = if continues && length <= size { length } else { 0 };
        if length != already {
            file.set_len(0).map_err(|why| failed(&shown, "cannot be emptied", why))?;
        }
        Ok(Self { file: Arc::new(file), path, wanted: wanted.to_owned(), force, already })
    }

    /// The file that is wanted.
    pub(super) fn wanted(&self) -> &Path {
        &self.wanted
    }

    /// Gives it the name that is wanted, once its bytes are on the disk.
    pub(super) fn commit(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)?;
        self.file.sync_all()?;
        if !is_at(&self.file, &self.path)? {
            return Err(io::Error::other(format!("somebody took `{}` away", self.path.display())));
        }
        if self.force {
            fs::rename(&self.path, &self.wanted)?;
        } else {
            // Unlike a rename this fails if something has come to stand there meanwhile.
            match fs::hard_link(&self.path, &self.wanted) {
                Ok(()) => fs::remove_file(&self.path)?,
                // File systems without links.
                Err(why) if why.kind() != io::ErrorKind::AlreadyExists && !there(&self.wanted) => {
                    fs::rename(&self.path, &self.wanted)?;
                }
                Err(why) => return Err(why),
            }
        }
        File::open(folder(&self.wanted))?.sync_all()
    }

    /// Removes it. Says what is left if that fails.
    pub(super) fn remove(&self) -> Option<String> {
        if matches!(is_at(&self.file, &self.path), Ok(false)) {
            return None;
        }
        match fs::remove_file(&self.path) {
            Ok(()) => None,
            Err(why) if why.kind() == io::ErrorKind::NotFound => None,
            Err(why) => Some(format!("`{}`, which cannot be removed: {why}", self.path.display())),
        }
    }
}

/// Whether that file is the one at that place, under that name alone.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino()) && own.nlink() == 1),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(why) => Err(why),
    }
}

/// Whether something is there, a link that leads nowhere too.
pub(super) fn there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// What keeps a file from being written.
pub(super) fn failed(shown: &str, what: &str, why: io::Error) -> Error {
    Error::new(Code::LocalFile, Stage::Upload, format!("`{shown}` {what}: {why}")).caused_by(why)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// `.NAME.DIGITS.part`, in the same folder: a name that others do not take for the disk.
fn beside(wanted: &Path, revision: &str) -> Result<PathBuf> {
    let name = wanted.file_name().ok_or_else(|| {
        Error::new(Code::Usage, Stage::Plan, format!("`{}` is not the name of a file", wanted.display()))
    })?;
    let name = name.to_string_lossy();
    let name = name.get(..name.floor_char_boundary(MAX_NAME)).unwrap_or_default();
    let digits = revision.rsplit(':').next().unwrap_or_default();
    let digits: String = digits.chars().filter(char::is_ascii_alphanumeric).take(DIGITS).collect();
    Ok(folder(wanted).join(format!(".{name}.{digits}.part")))
}

/// Opens it, or makes it. What is no file of its own, or a link, was not made by us.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.nlink() != 1 || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("something that is not ours stands there"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = Path::new("/tmp").join(format!("longshore-part-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn open(&self, continues: bool) -> Result<Part> {
            Part::open(&self.0.join("vm"), false, "sha256:0123456789abcdef0", 5, continues)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_a_run_left_is_gone_on_with_if_that_is_of_use() {
        let folder = Folder::new("left");
        let part = folder.0.join(".vm.0123456789abcdef.part");
        for (left, continues, already) in [("", true, 0), ("abc", true, 3), ("abc", false, 0), ("abcdef", true, 0)] {
            fs::write(&part, left).unwrap();
            assert_eq!(folder.open(continues).unwrap().already, already, "{left} {continues}");
            assert_eq!(fs::metadata(&part).unwrap().len(), already);
        }
    }

    #[test]
    fn what_is_not_ours_is_not_written_to() {
        let folder = Folder::new("foreign");
        let (part, other) = (folder.0.join(".vm.0123456789abcdef.part"), folder.0.join("other"));
        fs::write(&other, "x").unwrap();
        std::os::unix::fs::symlink(&other, &part).unwrap();
        assert_eq!(folder.open(true).map(drop).unwrap_err().code(), Code::LocalFile);
        fs::remove_file(&part).unwrap();
        fs::hard_link(&other, &part).unwrap();
        assert_eq!(folder.open(true).map(drop).unwrap_err().code(), Code::LocalFile);
        fs::remove_file(&part).unwrap();
        fs::create_dir(&part).unwrap();
        assert_eq!(folder.open(true).map(drop).unwrap_err().code(), Code::LocalFile);
        assert_eq!(fs::read(&other).unwrap(), b"x");
    }

    #[test]
    fn whoever_comes_while_another_ends_leaves_its_file_alone() {
        for force in [false, true] {
            let folder = Folder::new(if force { "forced" } else { "race" });
            let (wanted, path) = (folder.0.join("vm"), folder.0.join(".vm.0123456789abcdef.part"));
            let part = || Part::open(&wanted, force, "sha256:0123456789abcdef0", 5, true);
            let first = part().unwrap();
            fs::write(&path, "whole").unwrap();
            // The second has opened the part, the first ends, and only now the second gets the lock.
            let second = create(&path).unwrap();
            first.commit(5).unwrap();
            drop(first);
            let refused = Part::locked((second, path.clone()), (&wanted, force), 3, false).map(drop).unwrap_err();
            assert!(refused.to_string().contains("which has just ended"), "{refused}");
            assert_eq!(fs::read(&wanted).unwrap(), b"whole");
            // And where the first failed, and has removed its part.
            let first = part().unwrap();
            let second = create(&path).unwrap();
            assert_eq!(first.remove(), None);
            drop(first);
            assert!(Part::locked((second, path.clone()), (&wanted, force), 5, false).is_err(), "it has no name");
            // Whose part was taken away has nothing to give the name to, and removes nothing of anybody's.
            let first = part().unwrap();
            fs::rename(&path, folder.0.join("elsewhere")).unwrap();
            fs::write(&path, "somebody's").unwrap();
            assert!(first.commit(5).unwrap_err().to_string().contains("took"));
            assert_eq!(first.remove(), None);
            assert_eq!(fs::read(&path).unwrap(), b"somebody's");
            assert_eq!(fs::read(&wanted).unwrap(), b"whole");
        }
    }

    #[test]
    fn only_one_writes_and_nothing_is_written_over() {
        let folder = Folder::new("commit");
        let part = folder.open(true).unwrap();
        let other = folder.open(true).map(drop).unwrap_err();
        assert!(other.to_string().contains("another export"), "{other}");
        fs::write(folder.0.join("vm"), "mine").unwrap();
        assert_eq!(part.commit(5).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(folder.0.join("vm")).unwrap(), b"mine");
        fs::remove_file(folder.0.join("vm")).unwrap();
        part.commit(5).unwrap();
        assert_eq!(fs::read(folder.0.join("vm")).unwrap(), [0; 5]);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "and nothing beside it");
    }
}
