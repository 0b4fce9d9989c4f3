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
/// The same of one behind that of the disk, in search of another: whoever has two has them near the beginning.
const MAX_SEARCHED_BESIDE: u64 = 16 << 20;

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

/// What a layer is to the disk of one further down.
pub(super) enum Over {
    /// Nothing.
    Nothing,
    /// It takes it away.
    Hides,
    /// It has the disk itself: whoever mounts the image sees this one.
    HasIt,
}

/// What a layer over that of `disk` is to it, as far as that is seen in its beginning. A disk beside the other one is refused: nobody
/// could tell which of them is meant. What cannot be read has no part in it, unless nothing but a disk may be there.
pub(super) async fn over(asking: &Asking, layer: &Layer, disk: &Disk) -> Result<Over, Failure> {
    let mut looks = Looks::of(layer);
    looks.walk = layer.walk().behind(&disk.path);
    let other = match first_over(asking, layer, disk, &mut looks).await {
        Err(Failure::NotFound(_) | Failure::Invalid(_) | Failure::Limit(_) | Failure::Unsupported(_))
            if !layer.sole =>
        {
            None
        }
        other => other?,
    };
    match other {
        Some(other) if other.path == disk.path || looks.walk.hides() => Ok(Over::HasIt),
        Some(other) => Err(several(disk, &other)),
        None if looks.walk.hides() => Ok(Over::Hides),
        None => Ok(Over::Nothing),
    }
}

async fn first_over(asking: &Asking, layer: &Layer, disk: &Disk, looks: &mut Looks) -> Result<Option<Disk>, Failure> {
    match layer.blob.coding {
        Coding::Unreadable => return Ok(None),
        Coding::Plain => match looks.next(asking, &layer.blob).await? {
            Looked::Disk(other) => return Ok(Some(other)),
            Looked::NoDisk | Looked::TooMany => return Ok(None),
            Looked::NoRanges => looks.walk = layer.walk().behind(&disk.path),
        },
        Coding::Gzip | Coding::Zstd => {}
    }
    let mut contents = Contents::open(asking, layer).await?;
    Ok(first_in(&mut contents, &mut looks.walk, MAX_SEARCHED_BESIDE).await?.0)
}

/// The same in one that is stored as it is.
async fn find_plain(asking: &Asking, whole: &Layer) -> Result<Option<Found>, Failure> {
    let mut looks = Looks::of(whole);
    match looks.next(asking, &whole.blob).await? {
        Looked::Disk(disk) => ranged(asking, whole, disk, looks).await.map(Some),
        Looked::NoDisk => Ok(None),
        // Once more, for the host to verify what is read of it.
        Looked::NoRanges | Looked::TooMany => searched(Contents::open(asking, whole).await?).await,
    }
}

/// Looks at the headers of a layer by range. Nobody verifies what they show.
struct Looks {
    walk: Walk,
    position: u64,
    number: u32,
}

/// What looks gave.
enum Looked {
    /// A disk, whose first byte is next.
    Disk(Disk),
    /// The end.
    NoDisk,
    /// The registry has no ranges.
    NoRanges,
    /// There is more in front of it than is looked at so.
    TooMany,
}

impl Looks {
    fn of(layer: &Layer) -> Self {
        Self { walk: layer.walk(), position: 0, number: 0 }
    }

    async fn next(&mut self, asking: &Asking, layer: &Blob) -> Result<Looked, Failure> {
        while self.position < layer.size {
            if self.number == MAX_LOOKS {
                return Ok(Looked::TooMany);
            }
            self.number += 1;
            let look = LOOK.min(layer.size - self.position);
            let bytes = match asking.blob(layer, Some((self.position, look))).await? {
                (Answered::Part, body) => collected(body, usize::try_from(look).unwrap_or(usize::MAX)).await?,
                (Answered::Whole, _) => return Ok(Looked::NoRanges),
            };
            let mut rest = bytes.as_slice();
            let seen = self.walk.take(&mut rest).map_err(failure)?;
            self.position = self.position.saturating_add((bytes.len() - rest.len()) as u64);
            match seen {
                Seen::End => return Ok(Looked::NoDisk),
                Seen::More => {}
                Seen::Skip(left) => self.skipped(left),
                Seen::Disk(disk) => return Ok(Looked::Disk(disk)),
            }
        }
        Ok(Looked::NoDisk)
    }

    fn skipped(&mut self, bytes: u64) {
        self.walk.skipped(bytes);
        self.position = self.position.saturating_add(bytes);
    }
}

/// The disk that `looks` have come to, by range if there is not too much around it. Another one behind it is refused.
async fn ranged(asking: &Asking, whole: &Layer, disk: Disk, mut looks: Looks) -> Result<Found, Failure> {
    let (layer, at) = (&whole.blob, looks.position);
    let end = at.saturating_add(disk.size);
    let Some(behind) = layer.size.checked_sub(end) else {
        return Err(cut_short(layer, &disk));
    };
    looks.skipped(disk.size);
    if disk.size == 0 || at > MAX_AROUND || behind > MAX_AROUND {
        // Seen before all of it was carried; what is too far behind is seen then.
        return match looks.next(asking, layer).await {
            Ok(Looked::Disk(other)) => Err(several(&disk, &other)),
            // Of what is wrong there, whoever carries it says more.
            Ok(_) | Err(Failure::Invalid(_) | Failure::Limit(_)) => Ok(Found { disk, stands: Stands::InOrder }),
            Err(failure) => Err(failure),
        };
    }
    let around = async |offset, length| {
        if length == 0 {
            return Ok(Vec::new());
        }
        collected(asking.part(layer, offset, length).await?, MAX_AROUND as usize).await
    };
    let (before, after) = (around(0, at).await?, around(end, behind).await?);
    // The host verifies that it is this that stands there: so it must lead to the same disk.
    let mut walk = led_to(whole.walk(), &disk, &before).map_err(failure)?;
    walk.skipped(disk.size);
    no_other(&mut walk, whole.sole, &after, &disk)?;
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

/// Goes on behind `disk`, where no other one may stand, and beside a sole one nothing. What is malformed there nobody reads on:
/// it is the layer's own, or its digest shows that it is not.
fn no_other(walk: &mut Walk, sole: bool, mut behind: &[u8], disk: &Disk) -> Result<(), Failure> {
    match walk.take(&mut behind) {
        Ok(Seen::Disk(other)) => Err(several(disk, &other)),
        Ok(Seen::More | Seen::Skip(_) | Seen::End) => Ok(()),
        Err(why) if sole => Err(failure(why)),
        Err(_) => {
            walk.end();
            Ok(())
        }
    }
}

/// Those who run container disks refuse it, too, once the layers are merged.
fn several(disk: &Disk, other: &Disk) -> Failure {
    let (one, other) = (&disk.name, &other.name);
    Failure::Invalid(format!(
        "the image has several files in `disk/`, `{one}` and `{other}`: one of them alone would be its disk"
    ))
}

/// The same in a layer that can only be read in order.
async fn searched(mut contents: Contents) -> Result<Option<Found>, Failure> {
    let (layer, mut walk) = (contents.layer().blob, contents.layer().walk());
    match first_in(&mut contents, &mut walk, MAX_SEARCHED).await? {
        (Some(disk), at) if layer.coding == Coding::Plain && at.saturating_add(disk.size) > layer.size => {
            Err(cut_short(&layer, &disk))
        }
        (Some(disk), _) => Ok(Some(Found { disk, stands: Stands::InOrder })),
        (None, taken) if taken > MAX_SEARCHED => {
            let message = format!("the first {MAX_SEARCHED} bytes of the layer {} have no disk", layer.digest);
            Err(Failure::Limit(message))
        }
        (None, _) => Ok(None),
    }
}

/// The first disk in about the first `most` bytes, and where it begins; or how much was read in search of it.
async fn first_in(contents: &mut Contents, walk: &mut Walk, most: u64) -> Result<(Option<Disk>, u64), Failure> {
    let mut taken = 0_u64;
    while taken <= most
        && let Some(piece) = contents.next().await?
    {
        let mut rest = piece.as_slice();
        match walk.take(&mut rest).map_err(failure)? {
            Seen::End => return Ok((None, 0)),
            Seen::Disk(disk) => {
                let at = taken.saturating_add((piece.len() - rest.len()) as u64);
                return Ok((Some(disk), at));
            }
            Seen::More | Seen::Skip(_) => {}
        }
        taken = taken.saturating_add(piece.len() as u64);
    }
    Ok((None, taken))
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

async fn carry(mut contents: Contents, disk: &Disk, writer: &mut StreamWriter<u8>) -> Result<(), Failure> {
    let (mut walk, sole) = (contents.layer().walk(), contents.layer().sole);
    let (mut found, mut left) = (false, disk.size);
    while let Some(mut piece) = contents.next().await? {
        let mut rest = piece.as_slice();
        if !found && let Seen::Disk(seen) = walk.take(&mut rest).map_err(failure)? {
            if seen != *disk {
                return Err(failure(another_disk()));
            }
            walk.skipped(disk.size);
            found = true;
        }
        if !found {
            continue;
        }
        let in_front = piece.len() - rest.len();
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        left -= most as u64;
        no_other(&mut walk, sole, rest.get(most..).unwrap_or_default(), disk)?;
        if most > 0 {
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
