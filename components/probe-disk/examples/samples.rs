//! Writes every sample to a folder, as `legal/` and `hostile/`, with a name that says what it is: for other tools to look at.

use std::fs;
use std::io::{Error, Result};
use std::path::Path;

use probe_disk::samples::{hostile, legal};

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).ok_or_else(|| Error::other("a folder is expected"))?;
    let legal = legal().into_iter().map(|disk| ("legal", disk.name, disk.image));
    let hostile = hostile().into_iter().map(|disk| ("hostile", disk.name, disk.image));
    for (number, (kind, name, image)) in legal.chain(hostile).enumerate() {
        let folder = Path::new(&folder).join(kind);
        fs::create_dir_all(&folder)?;
        let name: String =
            name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
        fs::write(folder.join(format!("{number:03}-{name}")), image)?;
    }
    Ok(())
}
