//! Where in a layer the disk is, and how it is read there.

use wit_bindgen::rt::async_support::StreamWriter;
use wit_bindgen::spawn_local;

use super::asking::{Answered, Asking, Body, collected};
use super::bindings::{wit_future, wit_stream};
use super::contents::{Contents, Layer};
use super::{Failure, failure};
use crate::{Blob, Coding, Disk, Refusal, Seen, Walk};

/// How much of a layer is asked for at once, in search of its disk.
const LOOK: u64 = 64 * 1024;
/// The most looks into one layer: what has more in front of its disk is read in order.
const MAX_LOOKS: u32 = 32;
/// The most bytes around the disk that the host is told.
const MAX_AROUND: u64 = 1 << 20;
/// The most bytes of a layer that are read in order in search of its disk.
const MAX_SEARCHED: u64 = 1 << 30;

/// A disk, and where it stands.
pub(super) struct Found {
    pub(super) disk: Disk,
    pub(super) stands: Stands,
}

/// How a disk can be read.
pub(super) enum Stands {
    /// By range, from `at` on, with this around it.
    Ranged { at: u64, before: Vec<u8>, after: Vec<u8> },
    /// Only with everything in front of it.
    InOrder,
}

/// Looks for the disk in a layer.
pub(super) async fn find(asking: &Asking, layer: &Layer) -> Result<Option<Found>, Failure> {
    if layer.blob.coding == Coding::Plain {
        return find_plain(asking, layer).await;
    }
    searched(Contents::open(asking, layer).await?).await
}

/// The same in one that is stored as it is.
async fn find_plain(asking: &Asking, whole: &Layer) -> Result<Option<Found>, Failure> {
    let layer = &whole.blob;
    let (mut walk, mut position) = (whole.walk(), 0_u64);
    for _ in 0..MAX_LOOKS {
        if position >= layer.size {
            return Ok(None);
        }
        let look = LOOK.min(layer.size - position);
        let bytes = match asking.blob(layer, Some((position, look))).await? {
            (Answered::Part, body) => collected(body, usize::try_from(look).unwrap_or(usize::MAX)).await?,
            // Without ranges. Once more, for the host to verify what is read of it.
            (Answered::Whole, _) => return searched(Contents::open(asking, whole).await?).await,
        };
        let mut rest = bytes.as_slice();
        let seen = walk.take(&mut rest).map_err(failure)?;
        position = position.saturating_add((bytes.len() - rest.len()) as u64);
        match seen {
            Seen::End => return Ok(None),
            Seen::More => {}
            Seen::Skip(left) => {
                walk.skipped(left);
                position = position.saturating_add(left);
            }
            Seen::Disk(disk) => return ranged(asking, whole, disk, position).await.map(Some),
        }
    }
    searched(Contents::open(asking, whole).await?).await
}

/// The disk at `at`, by range if there is not too much around it.
async fn ranged(asking: &Asking, whole: &Layer, disk: Disk, at: u64) -> Result<Found, Failure> {
    let layer = &whole.blob;
    let end = at.saturating_add(disk.size);
    let Some(behind) = layer.size.checked_sub(end) else {
        return Err(cut_short(layer, &disk));
    };
    if disk.size == 0 || at > MAX_AROUND || behind > MAX_AROUND {
        return Ok(Found { disk, stands: Stands::InOrder });
    }
    let around = async |offset, length| {
        if length == 0 {
            return Ok(Vec::new());
        }
        collected(asking.part(layer, offset, length).await?, MAX_AROUND as usize).await
    };
    let (before, after) = (around(0, at).await?, around(end, behind).await?);
    // The looks were verified by nobody. The host verifies that it is this that stands there: so it must lead to the same disk.
    let walk = led_to(whole.walk(), &disk, &before).map_err(failure)?;
    if whole.sole {
        walked_to_the_end(walk, disk.size, &after)?;
    }
    Ok(Found { disk, stands: Stands::Ranged { at, before, after } })
}

/// A walk whose next byte is the first of that disk, if this is what stands in front of it.
fn led_to(mut walk: Walk, disk: &Disk, before: &[u8]) -> Result<Walk, Refusal> {
    let mut rest = before;
    match walk.take(&mut rest)? {
        Seen::Disk(found) if found == *disk && rest.is_empty() => Ok(walk),
        _ => Err(another_disk()),
    }
}

fn another_disk() -> Refusal {
    Refusal::Invalid("the layer begins otherwise than the registry said before".to_owned())
}

/// Looks behind a disk, whose first byte was next, for what must not be there.
fn walked_to_the_end(mut walk: Walk, disk: u64, after: &[u8]) -> Result<(), Failure> {
    walk.skipped(disk);
    let mut rest = after;
    match walk.take(&mut rest).map_err(failure)? {
        Seen::End | Seen::More | Seen::Skip(_) => Ok(()),
        Seen::Disk(_) => Err(Failure::Invalid("the layer has a second disk".to_owned())),
    }
}

/// The same in a layer that can only be read in order.
async fn searched(mut contents: Contents) -> Result<Option<Found>, Failure> {
    let layer = contents.layer().blob;
    let (mut walk, mut taken) = (contents.layer().walk(), 0_u64);
    while let Some(piece) = contents.next().await? {
        let mut rest = piece.as_slice();
        match walk.take(&mut rest).map_err(failure)? {
            Seen::End => return Ok(None),
            Seen::Disk(disk) => {
                let at = taken.saturating_add((piece.len() - rest.len()) as u64);
                if layer.coding == Coding::Plain && at.saturating_add(disk.size) > layer.size {
                    return Err(cut_short(&layer, &disk));
                }
                return Ok(Some(Found { disk, stands: Stands::InOrder }));
            }
            Seen::More | Seen::Skip(_) => {}
        }
        taken = taken.saturating_add(piece.len() as u64);
        if taken > MAX_SEARCHED {
            let message = format!("the first {MAX_SEARCHED} bytes of the layer {} have no disk", layer.digest);
            return Err(Failure::Limit(message));
        }
    }
    Ok(None)
}

fn cut_short(layer: &Blob, disk: &Disk) -> Failure {
    let message = format!(
        "the layer {} has {} bytes, less than its disk of {} bytes ends at",
        layer.digest, layer.size, disk.size
    );
    Failure::Invalid(message)
}

/// The disk of a layer that is read from its start to its end, and verified on the way.
///
/// What was seen of it in search of it was verified by nobody: this must be the same one.
pub(super) async fn in_order(contents: Contents, disk: Disk) -> Result<Body, Failure> {
    let (mut writer, stream) = wit_stream::new();
    let (told, ended) = wit_future::new(|| Err(Failure::Other("the disk was given up".to_owned())));
    spawn_local(async move {
        let carried = carry(contents, &disk, &mut writer).await;
        drop(writer);
        // A host that does not want to know is gone.
        let _ = told.write(carried).await;
    });
    Ok((stream, ended))
}

async fn carry(mut contents: Contents, expected: &Disk, writer: &mut StreamWriter<u8>) -> Result<(), Failure> {
    let (mut walk, sole) = (contents.layer().walk(), contents.layer().sole);
    let mut left = 0_u64;
    let mut found = false;
    while let Some(mut piece) = contents.next().await? {
        let mut rest = piece.as_slice();
        if !found && let Seen::Disk(disk) = walk.take(&mut rest).map_err(failure)? {
            if disk != *expected {
                return Err(failure(another_disk()));
            }
            (found, left) = (true, disk.size);
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(if found { rest.len() } else { 0 });
        if found && sole && left <= rest.len() as u64 {
            walk.skipped(left);
            let mut behind = rest.get(most..).unwrap_or_default();
            // A second disk is refused by the walk itself.
            walk.take(&mut behind).map_err(failure)?;
        } else if found {
            walk.skipped(most as u64);
        }
        if most > 0 {
            let in_front = piece.len() - rest.len();
            left -= most as u64;
            // Nearly always the piece as it is.
            piece.truncate(in_front + most);
            drop(piece.drain(..in_front));
            if !writer.write_all(piece).await.is_empty() {
                return Err(Failure::Other("nobody reads the disk".to_owned()));
            }
        }
    }
    if left > 0 || !found {
        return Err(Failure::Invalid("the layer ends in front of its disk's end".to_owned()));
    }
    Ok(())
}
