//! The termination message: one JSON object, fields that are zero or empty left out, in the order and by the names that a
//! controller knows.

use std::fs;
use std::time::Duration;

use serde::Serialize;

use super::TERMINATION_LOG;
use crate::error::{Code, Error, Result, Stage};
use crate::pipeline::{ImageWishes, Imported, Report};

/// The most that Kubernetes keeps of it; what is behind is lost, and with it the end of the object.
const MOST: usize = 4096;
/// How much of an error's words there is room for when every letter is escaped.
const MOST_WORDS: [usize; 2] = [MOST - 64, (MOST - 64) / 6];

/// What is left for whoever reads it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Message {
    #[serde(rename = "source-image-size", skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(rename = "source-image-virtual-size", skip_serializing_if = "is_zero")]
    virtual_size: u64,
    #[serde(rename = "source-image-format", skip_serializing_if = "String::is_empty")]
    format: String,
    /// In nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    duration: u64,
    /// In bytes per second.
    #[serde(rename = "average-speed", skip_serializing_if = "is_zero")]
    average_speed: u64,
    #[serde(rename = "error-message", skip_serializing_if = "String::is_empty")]
    error: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Message {
    /// Of an import that went well. Of a wrapper, what is inside counts, as for the labels; of a copy there is only how long it
    /// took.
    pub(super) fn done(imported: &Imported, report: &Report, image: &ImageWishes, took: Duration) -> Self {
        let Some(size) = imported.disk_size else { return Self { duration: nanoseconds(took), ..Self::default() } };
        let disk = &report.disk;
        let inside = disk.content.as_ref().filter(|content| content.inspected);
        let (format, virtual_size) = match inside {
            Some(content) => (&content.format, content.virtual_size),
            None => (&disk.format, disk.virtual_size),
        };
        let transfer = &report.transfer;
        let rate = transfer.bytes_received as f64 / transfer.transferring_seconds.max(f64::EPSILON);
        Self {
            size,
            virtual_size: virtual_size.unwrap_or(0),
            format: format.as_deref().map_or_else(String::new, |format| image.format_name(format).to_owned()),
            duration: nanoseconds(took),
            average_speed: rate as u64,
            error: String::new(),
        }
    }

    /// Of one that did not go well.
    pub(super) fn failed(error: &Error) -> Self {
        let causes = error.causes().into_iter().map(|cause| format!(": {cause}")).collect::<String>();
        // Advice is about flags, which whoever reads this has none of.
        Self { error: format!("{error}{causes}"), ..Self::default() }
    }

    /// Leaves it where the pod's runtime looks.
    ///
    /// # Errors
    /// `local-file` if it cannot be written there.
    pub(super) fn leave(&self) -> Result<()> {
        let text = self.text()?;
        fs::write(TERMINATION_LOG, text).map_err(|why| {
            let message = format!("the termination message cannot be written to `{TERMINATION_LOG}`: {why}");
            Error::new(Code::LocalFile, Stage::Report, message).caused_by(why)
        })
    }

    fn text(&self) -> Result<String> {
        let json = |message: &Self| {
            serde_json::to_string(message)
                .map_err(|why| Error::internal(Stage::Report, format!("the termination message: {why}")))
        };
        let mut text = json(self)?;
        for most in MOST_WORDS {
            if text.len() > MOST {
                let words = self.error.get(..self.error.floor_char_boundary(most)).unwrap_or_default();
                text = json(&Self { error: format!("{words}…"), ..Self::default() })?;
            }
        }
        Ok(text)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_a_controller_reads() {
        let message = Message {
            size: 1,
            virtual_size: 2,
            format: "qcow2".to_owned(),
            duration: 3,
            average_speed: 4,
            error: String::new(),
        };
        let expected = "{\"source-image-size\":1,\"source-image-virtual-size\":2,\"source-image-format\":\"qcow2\",\
                        \"duration\":3,\"average-speed\":4}";
        assert_eq!(message.text().unwrap(), expected);
        let copied = Message { duration: 2_000_000_000, ..Message::default() };
        assert_eq!(copied.text().unwrap(), "{\"duration\":2000000000}");
        let error = Error::new(Code::ChecksumMismatch, Stage::Checksum, "no").context("why").hint("do");
        assert_eq!(Message::failed(&error).text().unwrap(), "{\"error-message\":\"no: why\"}");
    }

    #[test]
    fn a_long_one_is_cut_within_the_words_and_still_read() {
        for words in ["x".repeat(10_000), "\u{1}".repeat(10_000), "ä\"".repeat(5_000)] {
            let text = Message::failed(&Error::new(Code::Internal, Stage::Plan, words)).text().unwrap();
            assert!(text.len() <= MOST, "{}", text.len());
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(read["error-message"].as_str().unwrap().ends_with('…'));
        }
    }
}
