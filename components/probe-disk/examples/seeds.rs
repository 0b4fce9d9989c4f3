//! Writes the seeds of the fuzz targets to a folder: every sample as pieces, in a folder of the format that it is or is
//! taken for, once with its checksums as they are and once with the wish to have them made anew.

use std::fs;
use std::io::{Error, Result};
use std::path::Path;

use probe_disk::FORMATS;
use probe_disk::samples::{Sparse, hostile, legal, settled};

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).ok_or_else(|| Error::other("a folder is expected"))?;
    for format in FORMATS {
        fs::create_dir_all(Path::new(&folder).join(format.name))?;
    }
    let legal = legal().into_iter().map(|disk| (disk.name, disk.image));
    let hostile = hostile().into_iter().map(|disk| (disk.name, disk.image));
    for (number, (name, image)) in legal.chain(hostile).enumerate() {
        // A malformed one belongs to the format that its name begins with.
        let said =
            settled(&image).map_or_else(|_| name.split([':', ' ']).next().unwrap_or_default(), |found| found.format);
        let said = FORMATS.iter().find(|format| format.name == said).map_or("raw", |format| format.name);
        let mut input = Sparse::of(&image).encode();
        for flags in [0, 1] {
            input.push(flags);
            fs::write(Path::new(&folder).join(said).join(format!("{number}-{flags}")), &input)?;
            input.pop();
        }
    }
    Ok(())
}
