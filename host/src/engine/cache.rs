//! A folder of what was fetched or compiled before: components, their manifests, their artifacts. An artifact is native code, so
//! it counts only if nobody but this user can have written it: the folder and each file must be this user's own, writable by
//! nobody else and no link. Whatever is read is compared with the digest that it is kept under.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, renameat, statat, unlinkat};
use rustix::process::geteuid;

use crate::error::{Code, Error, Result, Stage};
use crate::oci::Digest;

/// The most files of the folder, and their bytes in all: the oldest go first.
const MOST_FILES: usize = 128;
const MOST_BYTES: u64 = 2 << 30;
/// What a file is called until it is whole.
const UNFINISHED: &str = "unfinished-";
/// Permission bits of everybody but the owner to write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: Arc<OwnedFd>,
    path: Arc<Path>,
}

/// Where the folder is.
#[derive(Clone, Debug)]
pub enum CachePlace {
    /// Nowhere: nothing is kept.
    Nowhere,
    /// In a folder that somebody asked for: it must be had.
    Wanted(PathBuf),
    /// In this folder of one where caches usually are, if that is there.
    Usual(PathBuf, PathBuf),
}

/// What is kept, each under a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept<'a> {
    /// What has this digest: a component or a manifest.
    Content(&'a Digest),
    /// What a component of that digest was compiled to, by an engine of that mark.
    Artifact(&'a Digest, &'a str),
}

/// Why there is no cache.
#[derive(Debug, thiserror::Error)]
enum NoCache {
    /// The folder cannot be made or opened.
    #[error("the cache `{0}` cannot be opened: {1}")]
    Absent(PathBuf, #[source] io::Error),
    /// Somebody else can write there.
    #[error("the cache `{0}` is not safe: {1}")]
    Unsafe(PathBuf, String),
}

impl CachePlace {
    /// The cache, if there is one. The folder is made if it is not there.
    ///
    /// # Errors
    /// `local-file` if it was asked for and cannot be had, and if others can write there.
    pub fn open(&self) -> Result<Option<Cache>> {
        let opened = match self {
            Self::Nowhere => return Ok(None),
            Self::Usual(usual, _) if !usual.is_dir() => return Ok(None),
            Self::Wanted(path) | Self::Usual(_, path) => Cache::open(path),
        };
        match opened {
            Ok(cache) => Ok(Some(cache)),
            Err(why @ NoCache::Absent(..)) if matches!(self, Self::Usual(..)) => {
                tracing::debug!("{why}");
                Ok(None)
            }
            Err(why) => Err(Error::new(Code::LocalFile, Stage::Plan, why.to_string())
                .hint("LONGSHORE_CACHE names another folder; with no value, nothing is cached")),
        }
    }
}

impl Cache {
    fn open(path: &Path) -> std::result::Result<Self, NoCache> {
        let absent = |why: io::Error| NoCache::Absent(path.to_owned(), why);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).or_else(|why| match why.kind() {
            // What it is that stands there is looked at below.
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(absent(why)),
        })?;
        let unsafe_ = |why: &str| NoCache::Unsafe(path.to_owned(), why.to_owned());
        let named = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map_err(|why| absent(why.into()))?;
        check(&named, FileType::Directory).map_err(|why| unsafe_(&why))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(CWD, path, flags, Mode::empty()).map_err(|why| absent(why.into()))?;
        // The one that was opened counts, whatever was there a moment ago.
        let opened = fstat(&folder).map_err(|why| absent(why.into()))?;
        check(&opened, FileType::Directory).map_err(|why| unsafe_(&why))?;
        Ok(Self { folder: Arc::new(folder), path: path.into() })
    }

    /// What is kept so, if it is there, is ours, has at most `most` bytes and the digest it is kept under. What is not is
    /// removed.
    #[must_use]
    pub fn read(&self, kept: Kept<'_>, most: u64) -> Option<Vec<u8>> {
        let (name, digest) = self.find(kept)?;
        match self.verified(&name, &digest, most) {
            Ok(bytes) => Some(bytes),
            Err(why) => {
                tracing::warn!(file = name, "what is cached is not used and removed: {why}");
                let _ = unlinkat(&self.folder, &name, AtFlags::empty());
                None
            }
        }
    }

    /// Keeps `bytes`, if the folder takes them: without them the next run does the work again, that is all.
    pub fn keep(&self, kept: Kept<'_>, bytes: &[u8]) {
        let name = match kept {
            Kept::Content(digest) => format!("content-{}", digest.hex()),
            Kept::Artifact(component, mark) => format!("{}{}", prefix(component, mark), Digest::of(bytes).hex()),
        };
        if let Err(why) = self.write(&name, bytes) {
            tracing::debug!(cache = %self.path.display(), "not cached: {why}");
        }
        self.shrink();
    }

    fn find(&self, kept: Kept<'_>) -> Option<(String, Digest)> {
        match kept {
            Kept::Content(digest) => {
                let name = format!("content-{}", digest.hex());
                statat(&self.folder, &name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|_| (name, *digest))
            }
            Kept::Artifact(component, mark) => {
                let prefix = prefix(component, mark);
                self.names().into_iter().find_map(|name| {
                    let digest = Digest::from_hex(name.strip_prefix(&prefix)?).ok()?;
                    Some((name, digest))
                })
            }
        }
    }

    fn verified(&self, name: &str, digest: &Digest, most: u64) -> std::result::Result<Vec<u8>, String> {
        let said = |why: rustix::io::Errno| why.to_string();
        // Not blocking: a FIFO would wait for somebody to write.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(&self.folder, name, flags, Mode::empty()).map_err(said)?;
        check(&fstat(&file).map_err(said)?, FileType::RegularFile)?;
        let mut bytes = Vec::new();
        File::from(file).take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|why| why.to_string())?;
        if bytes.len() as u64 > most {
            return Err(format!("it has more than {most} bytes"));
        }
        match Digest::of(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(format!("it has the digest {found}")),
        }
    }

    /// Whole or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unfinished = format!("{UNFINISHED}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.folder, &unfinished, flags, Mode::RUSR | Mode::WUSR)?;
        let done = File::from(file)
            .write_all(bytes)
            .and_then(|()| renameat(&self.folder, &unfinished, &self.folder, name).map_err(io::Error::from));
        if done.is_err() {
            let _ = unlinkat(&self.folder, &unfinished, AtFlags::empty());
        }
        done
    }

    /// Removes the oldest files beyond the bounds. Of two runs that do so at once, both may remove.
    fn shrink(&self) {
        let mut files: Vec<(i64, u64, String)> = Vec::new();
        for name in self.names() {
            let Ok(stat) = statat(&self.folder, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                files.push((stat.st_mtime, u64::try_from(stat.st_size).unwrap_or_default(), name));
            }
        }
        files.sort_unstable_by_key(|(modified, ..)| std::cmp::Reverse(*modified));
        let mut bytes = 0_u64;
        for (number, (_, size, name)) in files.iter().enumerate() {
            bytes = bytes.saturating_add(*size);
            if number >= MOST_FILES || bytes > MOST_BYTES {
                let _ = unlinkat(&self.folder, name, AtFlags::empty());
            }
        }
    }

    /// The names of what is in the folder.
    fn names(&self) -> Vec<String> {
        let Ok(entries) = Dir::read_from(&self.folder) else { return Vec::new() };
        let name = |entry: rustix::io::Result<rustix::fs::DirEntry>| {
            let entry = entry.ok()?;
            OsStr::from_bytes(entry.file_name().to_bytes()).to_str().map(str::to_owned)
        };
        entries.filter_map(name).collect()
    }
}

/// What the name of an artifact begins with; its own digest follows.
fn prefix(component: &Digest, mark: &str) -> String {
    format!("artifact-{mark}-{}-", component.hex())
}

/// Whether it is of that type, this user's own, and written by nobody else.
fn check(stat: &Stat, expected: FileType) -> std::result::Result<(), String> {
    let (found, user) = (FileType::from_raw_mode(stat.st_mode), geteuid().as_raw());
    if found != expected {
        return Err(format!("it is a {found:?}, expected a {expected:?}"));
    }
    if stat.st_uid != user {
        return Err(format!("it belongs to user {}, expected {user}, which is this one", stat.st_uid));
    }
    if stat.st_mode & WRITABLE_BY_OTHERS != 0 {
        return Err(format!("others may write there: its mode is {:o}", stat.st_mode & 0o7777));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = Path::new("/tmp").join(format!("longshore-cache-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn refused(&self, path: &Path, says: &str) {
            match Cache::open(path) {
                Err(NoCache::Unsafe(_, why)) => assert!(why.contains(says), "{why}"),
                other => panic!("{other:?}"),
            }
            assert!(self.0.exists());
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_kept_is_read_and_nobody_else_can_read_it() {
        let folder = Folder::new("kept");
        let path = folder.0.join("a/b");
        let cache = Cache::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let digest = Digest::of(b"wasm");
        assert_eq!(cache.read(Kept::Content(&digest), 10), None);
        cache.keep(Kept::Content(&digest), b"wasm");
        cache.keep(Kept::Artifact(&digest, "e1"), b"native");
        assert_eq!(cache.read(Kept::Content(&digest), 10).unwrap(), b"wasm");
        assert_eq!(cache.read(Kept::Artifact(&digest, "e1"), 10).unwrap(), b"native");
        assert_eq!(cache.read(Kept::Artifact(&digest, "e2"), 10), None, "of another engine");
        assert_eq!(cache.read(Kept::Artifact(&Digest::of(b"x"), "e1"), 10), None, "of another component");
        let modes = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().metadata().unwrap().permissions().mode());
        assert_eq!(modes.map(|mode| mode & 0o777).collect::<Vec<_>>(), [0o600; 2]);
    }

    #[test]
    fn what_has_another_digest_or_could_be_somebody_elses_is_removed_and_not_used() {
        let folder = Folder::new("exchanged");
        let cache = Cache::open(&folder.0).unwrap();
        let digest = Digest::of(b"wasm");
        let kept = Kept::Content(&digest);
        let file = folder.0.join(format!("content-{}", digest.hex()));
        let spoil: [fn(&Path); 6] = [
            |file| fs::write(file, b"wasn").unwrap(),
            |file| fs::write(file, b"wasm and more").unwrap(),
            |file| fs::write(file, b"").unwrap(),
            |file| fs::set_permissions(file, Permissions::from_mode(0o622)).unwrap(),
            |file| {
                fs::rename(file, file.with_extension("moved")).unwrap();
                symlink(file.with_extension("moved"), file).unwrap();
            },
            |file| {
                fs::remove_file(file).unwrap();
                rustix::fs::mknodat(CWD, file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            },
        ];
        for (number, spoil) in spoil.into_iter().enumerate() {
            cache.keep(kept, b"wasm");
            assert!(cache.read(kept, 10).is_some());
            spoil(&file);
            assert_eq!(cache.read(kept, 10), None, "{number}");
            assert!(fs::symlink_metadata(&file).is_err(), "{number}: it is removed");
        }
        let artifact = Kept::Artifact(&digest, "e");
        cache.keep(artifact, b"native code");
        let name = cache.names().into_iter().find(|name| name.starts_with("artifact-e-")).unwrap();
        fs::write(folder.0.join(name), b"other code!").unwrap();
        assert_eq!(cache.read(artifact, 100), None);
        assert_eq!(cache.read(artifact, 100), None);
    }

    #[test]
    fn a_folder_that_others_can_write_is_no_cache() {
        let folder = Folder::new("unsafe");
        let inner = folder.0.join("inner");
        fs::create_dir(&inner).unwrap();
        for mode in [0o770, 0o702, 0o777] {
            fs::set_permissions(&inner, Permissions::from_mode(mode)).unwrap();
            folder.refused(&inner, "others may write there: its mode is 7");
        }
        fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        assert!(Cache::open(&inner).is_ok());
        symlink(&inner, folder.0.join("link")).unwrap();
        folder.refused(&folder.0.join("link"), "it is a Symlink, expected a Directory");
        fs::write(folder.0.join("file"), b"").unwrap();
        folder.refused(&folder.0.join("file"), "it is a RegularFile, expected a Directory");
        // What root owns is another's for everybody else; this process may be root.
        let others = if geteuid().is_root() { inner.as_path() } else { Path::new("/usr") };
        if geteuid().is_root() {
            std::os::unix::fs::chown(&inner, Some(65534), None).unwrap();
        }
        folder.refused(others, "it belongs to user");
        assert!(matches!(Cache::open(Path::new("/proc/none/cache")), Err(NoCache::Absent(..))));
    }

    #[test]
    fn the_oldest_go_first() {
        let folder = Folder::new("oldest");
        let cache = Cache::open(&folder.0).unwrap();
        for number in 0..MOST_FILES {
            fs::write(folder.0.join(format!("content-{number}")), b"").unwrap();
        }
        let old = std::time::SystemTime::UNIX_EPOCH;
        File::options().write(true).open(folder.0.join("content-7")).unwrap().set_modified(old).unwrap();
        cache.keep(Kept::Content(&Digest::of(b"new")), b"new");
        assert_eq!(cache.names().iter().filter(|name| name.starts_with("content-")).count(), MOST_FILES);
        assert!(!folder.0.join("content-7").exists());
    }
}
