//! Where a disk is written: a file beside the one that is wanted, a block device, or standard output.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::task::{JoinHandle, spawn_blocking};

use super::part::{Part, failed, there};
use super::{ExportPlan, ExportTarget, Sparse, continues, holes};
use crate::error::{Code, Error, Result, Retryable, Stage};
use crate::observe::{Progress, WaitsFor, waiting_for};
use crate::stages::Facts;
use crate::stream::Flow;

/// How much is written at once, while as much is gathered.
const BLOCK_BYTES: usize = 1 << 20;
/// And the most chunks it comes in.
const BLOCK_CHUNKS: usize = 1024;

/// One export's end.
pub(super) struct Sink {
    to: To,
    shown: String,
    size: u64,
    /// Whether zeros are left out.
    skips: bool,
    /// Whether a later run can go on with what was written.
    continues: bool,
    /// Bytes written in a row, those left out too.
    at: u64,
    in_holes: u64,
    /// Whether a write was ever begun.
    touched: bool,
}

enum To {
    Part(Part),
    Device(Arc<File>),
    /// What came last is held back until all is verified: whoever reads can tell by the length that it failed.
    Standard(Arc<File>, Option<Bytes>),
}

/// A write under way: what it left out.
type Job = JoinHandle<io::Result<u64>>;

/// Whether a target can be written at all, before anything is asked for.
///
/// # Errors
/// `local-file` if something is there that may not be written over, `usage` for what no disk can be written to.
pub(super) fn possible(target: &ExportTarget) -> Result<()> {
    let ExportTarget::File { path, force } = target else { return Ok(()) };
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        let message = format!("`{}` is not the name of a file", path.display());
        return Err(Error::new(Code::Usage, Stage::Plan, message).hint("name the file in it"));
    }
    if !there(path) {
        return Ok(());
    }
    let linked = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    if linked && !fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device()) {
        // What is renamed to it would stand in the link's place, not where it leads.
        let message = format!("`{}` is a link, which a file cannot be written over", path.display());
        return Err(Error::new(Code::Usage, Stage::Plan, message)
            .hint("name the file that it leads to, or - for standard output"));
    }
    // Of a link that leads nowhere only the link is there.
    let kind = fs::metadata(path).or_else(|_| fs::symlink_metadata(path));
    let kind = kind.map_err(|why| failed(&path.display().to_string(), "cannot be looked at", why))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        let hint = if kind.is_dir() {
            "name the file in it"
        } else {
            "what goes through a pipe is written to standard output: -"
        };
        let message = format!("`{}` is neither a file nor a block device", path.display());
        return Err(Error::new(Code::Usage, Stage::Plan, message).hint(hint));
    }
    if *force { Ok(()) } else { Err(exists(path)) }
}

fn exists(path: &Path) -> Error {
    Error::new(Code::LocalFile, Stage::Plan, format!("`{}` is there already", path.display()))
        .hint("to write over it: --force")
}

impl Sink {
    /// Opens the target of a plan for a disk of `size` bytes.
    pub(super) fn open(plan: &ExportPlan, facts: &Facts, size: u64) -> Result<Self> {
        let shown = plan.target.shown();
        let (to, continues) = match &plan.target {
            ExportTarget::StandardOutput(file) => (To::Standard(Arc::clone(file), None), false),
            ExportTarget::File { path, force } => {
                possible(&plan.target)?;
                if fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device()) {
                    (To::Device(Arc::new(device(path, size)?)), false)
                } else {
                    let revision = facts.revision.as_deref().unwrap_or_default();
                    let continues = continues(facts);
                    (To::Part(Part::open(path, *force, revision, size, continues)?), continues)
                }
            }
        };
        let at = match &to {
            To::Part(part) => part.already,
            To::Device(_) | To::Standard(..) => 0,
        };
        let skips = match (plan.sparse, &to) {
            (Sparse::Never, _) | (_, To::Standard(..)) | (Sparse::Auto, To::Device(_)) => false,
            (Sparse::Auto | Sparse::Always, To::Part(_)) | (Sparse::Always, To::Device(_)) => true,
        };
        Ok(Self { to, shown, size, skips, continues, at, in_holes: 0, touched: false })
    }

    pub(super) const fn kind(&self) -> &'static str {
        match self.to {
            To::Part(_) => "file",
            To::Device(_) => "device",
            To::Standard(..) => "standard-output",
        }
    }

    /// Bytes at its start that an earlier run wrote.
    pub(super) const fn already(&self) -> u64 {
        match &self.to {
            To::Part(part) => part.already,
            To::Device(_) | To::Standard(..) => 0,
        }
    }

    /// The file that has them, and its name.
    pub(super) fn part(&self) -> Option<(Arc<File>, String)> {
        match &self.to {
            To::Part(part) => Some((Arc::clone(&part.file), part.path.display().to_string())),
            To::Device(_) | To::Standard(..) => None,
        }
    }

    /// What the user must know of a target of this kind.
    pub(super) fn warning(&self) -> Option<String> {
        match self.to {
            To::Device(_) => {
                let shown = &self.shown;
                Some(format!(
                    "`{shown}` is a device and is written directly: what was on it is gone, whatever comes of this"
                ))
            }
            To::Part(_) | To::Standard(..) => None,
        }
    }

    /// Writes the flow, which is all of the disk, those bytes included that are there already.
    ///
    /// # Errors
    /// The flow's own, or `local-file`.
    pub(super) async fn take(&mut self, mut flow: Flow, progress: &Progress) -> Result<()> {
        let mut there = self.at;
        let mut job = None;
        loop {
            let (block, end) = gathered(&mut flow, &mut there, progress).await;
            self.settled(job.take()).await?;
            job = Some(self.started(block));
            if let Some(end) = end {
                // Of a flow that failed the last bytes count too; what keeps them from being written is not the cause.
                let written = self.settled(job).await;
                return end.and(written);
            }
        }
    }

    /// All of it is verified: it gets its name, or its last bytes. How many bytes were left out.
    ///
    /// # Errors
    /// `local-file`.
    pub(super) async fn finish(&mut self) -> Result<u64> {
        if self.at != self.size && !matches!(self.to, To::Standard(..)) {
            let message = format!("{} bytes were written of a disk of {}", self.at, self.size);
            return Err(Error::internal(Stage::Upload, message));
        }
        let (shown, size) = (&self.shown, self.size);
        match &mut self.to {
            To::Part(part) => {
                let (commit, wanted) = (part.clone(), part.wanted().to_owned());
                let committed = spawn_blocking(move || commit.commit(size));
                match waiting_for(WaitsFor::DiskWrites, joined(committed)).await {
                    Ok(()) => {}
                    Err(why) if why.kind() == io::ErrorKind::AlreadyExists => return Err(exists(&wanted)),
                    Err(why) => return Err(failed(shown, "cannot be made of its part", why)),
                }
            }
            To::Device(file) => {
                let file = Arc::clone(file);
                let synced = waiting_for(WaitsFor::DiskWrites, joined(spawn_blocking(move || file.sync_all())));
                synced.await.map_err(|why| failed(shown, "cannot be written to the end", why))?;
            }
            To::Standard(file, held) => {
                let (file, last) = (Arc::clone(file), held.take().unwrap_or_default());
                let length = last.len() as u64;
                let written = joined(spawn_blocking(move || (&*file).write_all(&last)));
                waiting_for(WaitsFor::DiskWrites, written)
                    .await
                    .map_err(|why| failed(shown, "cannot be written to", why))?;
                self.at = self.at.saturating_add(length);
            }
        }
        Ok(self.in_holes)
    }

    /// What was written is not the disk: says what is left of it.
    pub(super) fn abandon(&self, error: Error) -> Error {
        let (shown, at, size) = (&self.shown, self.at, self.size);
        match &self.to {
            To::Part(part) => {
                // What is not what it was to be is of no use to anybody.
                let of_use = self.continues && at > 0 && error.code().exit() != Code::ChecksumMismatch.exit();
                // What was left out at the end counts as written.
                if of_use && part.file.set_len(at).is_ok() {
                    let part = part.path.display();
                    return error.left(format!(
                        "`{part}` with {at} of {size} bytes that nobody has verified; the same command goes on behind them"
                    ));
                }
                let left = part.remove();
                error.left(left.unwrap_or_else(|| format!("nothing in {shown}")))
            }
            To::Device(_) if !self.touched => error.left(format!("nothing on the device `{shown}`")),
            To::Device(_) => error.left(format!(
                "the device `{shown}`, of which {at} bytes or more were written over with what nobody has verified"
            )),
            To::Standard(..) if self.touched => error.left(format!(
                "bytes on {shown}, {at} or more of {size}, that nobody has verified: whoever took them must not use them"
            )),
            To::Standard(..) => error.left(format!("nothing in {shown}")),
        }
    }

    /// Removes what an earlier run had left.
    pub(super) fn remove(&self) {
        if let To::Part(part) = &self.to {
            // If it stays it is emptied when it is opened again.
            let _ = part.file.set_len(0);
            let _ = part.remove();
        }
    }

    /// Begins to write a block behind what is written.
    fn started(&mut self, mut block: Vec<Bytes>) -> (u64, Job) {
        let (at, skips) = (self.at, self.skips);
        let file = match &mut self.to {
            To::Part(Part { file, .. }) | To::Device(file) => {
                let file = Arc::clone(file);
                let length = length_of(&block);
                self.touched |= length > 0;
                return (length, spawn_blocking(move || holes::write(&file, at, &block, skips)));
            }
            To::Standard(file, held) => {
                let last = block.pop();
                if let Some(before) = last.and_then(|last| held.replace(last)) {
                    block.insert(0, before);
                }
                Arc::clone(file)
            }
        };
        let length = length_of(&block);
        self.touched |= length > 0;
        let write = move || block.iter().try_for_each(|chunk| (&*file).write_all(chunk)).map(|()| 0);
        (length, spawn_blocking(write))
    }

    /// Waits for a block to be written.
    async fn settled(&mut self, job: Option<(u64, Job)>) -> Result<()> {
        let Some((length, job)) = job else { return Ok(()) };
        let written = waiting_for(WaitsFor::DiskWrites, joined(job)).await;
        let left_out = written.map_err(|why| failed(&self.shown, "cannot be written to", why))?;
        self.at = self.at.saturating_add(length);
        self.in_holes = self.in_holes.saturating_add(left_out);
        Ok(())
    }
}

/// The next block of a flow, without the first `there` bytes; and how the flow ended, if it did.
async fn gathered(flow: &mut Flow, there: &mut u64, progress: &Progress) -> (Vec<Bytes>, Option<Result<()>>) {
    let (mut block, mut bytes) = (Vec::new(), 0_usize);
    while bytes < BLOCK_BYTES && block.len() < BLOCK_CHUNKS {
        let mut chunk = match flow.next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return (block, Some(Ok(()))),
            Err(error) => return (block, Some(Err(error))),
        };
        progress.layer.passed(chunk.len());
        bytes = bytes.saturating_add(chunk.len());
        let known = usize::try_from(*there).unwrap_or(usize::MAX).min(chunk.len());
        *there = there.saturating_sub(known as u64);
        let new = chunk.split_off(known);
        if !new.is_empty() {
            block.push(new);
        }
    }
    (block, None)
}

fn length_of(block: &[Bytes]) -> u64 {
    block.iter().map(|chunk| chunk.len() as u64).sum()
}

async fn joined<T>(job: JoinHandle<io::Result<T>>) -> io::Result<T> {
    job.await.unwrap_or_else(|why| Err(io::Error::other(why)))
}

/// Opens a block device that nobody has mounted and that the disk fits on.
fn device(path: &Path, size: u64) -> Result<File> {
    let shown = path.display().to_string();
    // Of a device: not while somebody else has it exclusively, as a mounted file system does (open(2)).
    let opened = File::options().write(true).custom_flags(OFlags::EXCL.bits().cast_signed()).open(path);
    let mut file = opened.map_err(|why| match why.raw_os_error() {
        Some(code) if code == rustix::io::Errno::BUSY.raw_os_error() => {
            failed(&shown, "is in use, by a file system for instance", why)
        }
        _ => failed(&shown, "cannot be opened", why),
    })?;
    // It was one when it was looked at; what stands there now may be another.
    let still =
        file.metadata().map_err(|why| failed(&shown, "cannot be looked at", why))?.file_type().is_block_device();
    if !still {
        return Err(failed(&shown, "cannot be written to", io::Error::other("it is no block device any more")));
    }
    let room = file.seek(SeekFrom::End(0)).map_err(|why| failed(&shown, "does not say how large it is", why))?;
    if room < size {
        let message = format!("the device `{shown}` has {room} bytes, the disk {size}");
        return Err(Error::new(Code::LocalFile, Stage::Plan, message).retryable_as(Retryable::No));
    }
    Ok(file)
}
