//! `inspect`: what an image has, for people or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use indicatif::HumanBytes;

use super::alone::alone;
use super::args::Inspect;
use super::{messages, plan};
use crate::error::Result;
use crate::pipeline::{self, Blob, InspectedImage, Inspection};

/// The most characters of a label's or an annotation's value that are shown to people.
const MAX_VALUE: usize = 200;

/// Looks and tells.
pub(super) fn run(inspect: &Inspect) -> Result<()> {
    let plan = plan::inspect(inspect)?;
    let inspection = alone(pipeline::inspect(&plan))??;
    if inspect.json {
        return messages::document(serde_json::to_string_pretty(&inspection));
    }
    messages::data(shown(&inspection).trim_end())
}

fn shown(inspection: &Inspection) -> String {
    let mut text = String::new();
    row(&mut text, "image", &format!("{}@{}", inspection.name, inspection.document.digest));
    if inspection.kind == "index" {
        row(&mut text, "index", &sized(&inspection.document));
        pairs(&mut text, "annotation", &inspection.annotations);
    }
    for image in &inspection.images {
        if inspection.kind == "index" {
            text.push('\n');
            row(&mut text, "digest", &image.manifest.digest);
        }
        described(&mut text, image);
    }
    text
}

fn described(text: &mut String, image: &InspectedImage) {
    if let Some(platform) = &image.platform {
        let variant = platform.variant.as_ref().map_or_else(String::new, |variant| format!("/{variant}"));
        row(text, "platform", &format!("{}/{}{variant}", platform.os, platform.architecture));
    }
    let disk = &image.disk;
    let facts = [
        disk.format.clone(),
        disk.size.map(|bytes| HumanBytes(bytes).to_string()),
        disk.virtual_size.map(|bytes| format!("{} virtual", HumanBytes(bytes))),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    let name = disk.name.as_deref().unwrap_or("not found; a compressed layer is not looked into");
    match facts.is_empty() {
        true => row(text, "disk", name),
        false => row(text, "disk", &format!("{name} ({})", facts.join(", "))),
    }
    if let Some(created) = &image.created {
        row(text, "created", created);
    }
    row(text, "manifest", &sized(&image.manifest));
    if let Some(config) = &image.config {
        row(text, "config", &format!("{} {}", config.digest, sized(config)));
    }
    for layer in &image.layers {
        row(text, "layer", &format!("{} {}", layer.digest, sized(layer)));
    }
    pairs(text, "label", &image.labels);
    pairs(text, "annotation", &image.annotations);
}

fn sized(blob: &Blob) -> String {
    format!("{}, {}", blob.media_type, HumanBytes(blob.size))
}

fn pairs(text: &mut String, name: &str, pairs: &BTreeMap<String, String>) {
    for (key, value) in pairs {
        row(text, name, &format!("{key}={value}"));
    }
}

/// One line: whatever a stranger wrote into an image must not move the cursor.
fn row(text: &mut String, name: &str, value: &str) {
    let clean: String = value.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(MAX_VALUE).collect();
    let more = if value.chars().nth(MAX_VALUE).is_some() { "…" } else { "" };
    // Writing to a string does not fail.
    let _ = writeln!(text, "{name:11} {clean}{more}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{DiskFound, INSPECTION_SCHEMA};

    fn inspection(value: &str) -> Inspection {
        let blob = |digest: &str| Blob { digest: digest.to_owned(), media_type: "m".to_owned(), size: 5 };
        Inspection {
            schema: INSPECTION_SCHEMA,
            name: "r.example/vm".to_owned(),
            kind: "image",
            document: blob("sha256:a"),
            annotations: BTreeMap::new(),
            images: vec![InspectedImage {
                platform: None,
                manifest: blob("sha256:a"),
                created: None,
                disk: DiskFound::default(),
                config: Some(blob("sha256:b")),
                layers: vec![blob("sha256:c")],
                labels: BTreeMap::from([("k".to_owned(), value.to_owned())]),
                annotations: BTreeMap::new(),
            }],
        }
    }

    #[test]
    fn what_a_stranger_wrote_stays_on_its_line() {
        let text = shown(&inspection("a\u{1b}[2J\nimage evil"));
        assert!(!text.contains('\u{1b}'), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("image")).count(), 1, "{text}");
        let text = shown(&inspection(&"x".repeat(10_000)));
        assert!(text.lines().all(|line| line.chars().count() < MAX_VALUE + 20));
    }
}
