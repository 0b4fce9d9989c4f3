//! The registry's error document (distribution-spec "Error Codes").

use serde::Deserialize;

/// The most errors of a document that are shown.
const MAX_SHOWN: usize = 3;
/// The most characters of one error that are shown.
const MAX_TEXT: usize = 300;

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What the body of an error answer says, as `CODE: message`; the start of the text if it is no error document.
pub(super) fn words(body: &[u8]) -> Option<String> {
    let parsed: Option<Document> = serde_json::from_slice(body).ok();
    let words = match parsed {
        Some(document) if !document.errors.is_empty() => {
            let shown = document.errors.iter().take(MAX_SHOWN);
            shown.map(|entry| format!("{}: {}", entry.code, entry.message)).collect::<Vec<_>>().join("; ")
        }
        _ => String::from_utf8_lossy(body).trim().to_owned(),
    };
    let words: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TEXT).collect();
    (!words.trim().is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_document_is_read_and_anything_else_is_quoted() {
        let body = br#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match","detail":{}}]}"#;
        assert_eq!(words(body).unwrap(), "DIGEST_INVALID: provided digest did not match");
        assert_eq!(words(b"<html>\r\nno</html>").unwrap(), "<html>  no</html>");
        assert_eq!(words(br#"{"errors":[{"code":"X"}]}"#).unwrap(), "X: ");
        assert_eq!(words(b" \n"), None);
        assert_eq!(words(&[b'x'; 5000]).unwrap().len(), MAX_TEXT);
    }
}
