//! What registries and token servers write: error documents (distribution-spec "Error Codes") and tokens.

use serde::Deserialize;
use serde_json::Value;

use crate::net::Secret;

/// The most errors of a document that are shown.
const MAX_SHOWN: usize = 3;
/// The most characters of an answer that are shown.
const MAX_TEXT: usize = 400;
/// The most characters of one error's detail that are shown, half from each end: the end of a system error says the reason.
const MAX_DETAIL: usize = 160;

/// An error answer's body as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// The codes of its errors, as `DIGEST_INVALID`; none if it is no error document.
    pub(super) codes: Vec<String>,
    /// In words, bounded, on one line.
    pub(super) words: String,
}

impl Said {
    /// Whether the words have this in them, in any case.
    pub(super) fn mentions(&self, what: &str) -> bool {
        self.words.to_ascii_lowercase().contains(what)
    }
}

/// A token server's answer.
pub(super) struct TokenAnswer {
    pub(super) token: Option<Secret>,
    pub(super) access_token: Option<Secret>,
    pub(super) refresh_token: Option<Secret>,
    /// Seconds.
    pub(super) expires_in: Option<f64>,
}

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
    #[serde(default)]
    detail: Value,
}

#[derive(Deserialize)]
struct TokenDocument {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Value,
}

#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    repositories: Option<Vec<String>>,
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// A page of the repositories that a registry lists; none if it is none. A registry without any may write null.
pub(super) fn repositories(body: &[u8]) -> Option<Vec<String>> {
    serde_json::from_slice::<Names>(body).ok().map(|names| names.repositories.unwrap_or_default())
}

/// The same of the tags of a repository.
pub(super) fn tags(body: &[u8]) -> Option<Vec<String>> {
    serde_json::from_slice::<Names>(body).ok().map(|names| names.tags.unwrap_or_default())
}

/// What the body of an error answer says, as `CODE: message`; the title of a proxy's HTML page; else the start of the text.
/// None if it says nothing.
pub(super) fn said(body: &[u8]) -> Option<Said> {
    let parsed: Option<Document> = serde_json::from_slice(body).ok();
    let (codes, words) = match parsed {
        Some(document) if !document.errors.is_empty() => {
            let shown = document.errors.iter().take(MAX_SHOWN).map(Entry::words).collect::<Vec<_>>().join("; ");
            (document.errors.into_iter().take(MAX_SHOWN).map(|entry| entry.code).collect(), shown)
        }
        _ => {
            let text = String::from_utf8_lossy(body);
            (Vec::new(), page(&text).unwrap_or_else(|| text.trim().to_owned()))
        }
    };
    let words = one_line(&without_queries(&words), MAX_TEXT);
    (!words.trim().is_empty()).then_some(Said { codes, words })
}

/// Reads a token server's answer. Never shown: it has secrets in it.
pub(super) fn token(body: &[u8]) -> Option<TokenAnswer> {
    let document: TokenDocument = serde_json::from_slice(body).ok()?;
    let expires = &document.expires_in;
    Some(TokenAnswer {
        token: document.token.map(Secret::new),
        access_token: document.access_token.map(Secret::new),
        refresh_token: document.refresh_token.map(Secret::new),
        // Some write the number as a text.
        expires_in: expires.as_f64().or_else(|| expires.as_str()?.parse().ok()),
    })
}

impl Entry {
    fn words(&self) -> String {
        let detail = match &self.detail {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        // What went wrong inside a registry stands in the detail of its `unknown error`; else it repeats the request.
        match self.code.as_str() {
            "UNKNOWN" | "DENIED" | "UNSUPPORTED" | "TOOMANYREQUESTS" if !matches!(&*detail, "" | "{}" | "[]") => {
                format!("{}: {} ({})", self.code, self.message, ends(&detail, MAX_DETAIL))
            }
            _ => format!("{}: {}", self.code, self.message),
        }
    }
}

/// An HTML page in a few words: who answers so is a proxy, not a registry.
fn page(text: &str) -> Option<String> {
    let start = text.trim_start();
    let is_page = start.get(..1) == Some("<")
        && ["<!doctype html", "<html", "<head", "<?xml"]
            .iter()
            .any(|tag| start.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag)));
    if !is_page {
        return None;
    }
    let lower = start.to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|at| {
        let from = at + "<title>".len();
        let length = lower.get(from..)?.find("</title>")?;
        start.get(from..from + length)
    });
    Some(match title.map(str::trim).filter(|title| !title.is_empty()) {
        Some(title) => format!("with a page of a proxy: `{title}`"),
        None => "with a page of a proxy".to_owned(),
    })
}

/// The two ends of a text that is too long.
fn ends(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let half = most / 2;
    let (begin, end): (String, String) = (text.chars().take(half).collect(), text.chars().skip(count - half).collect());
    format!("{begin}…{end}")
}

/// The text with the queries of the URLs in it left out: signatures stand there.
fn without_queries(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`' | ')' | ']' | '}' | '\\');
    let mut clean = String::with_capacity(text.len());
    for word in text.split_inclusive(ends) {
        match word.find("://").and_then(|at| Some(at + word.get(at..)?.find('?')?)) {
            Some(query) => {
                clean.push_str(word.get(..=query).unwrap_or_default());
                clean.push_str("<redacted>");
                clean.extend(word.chars().next_back().filter(|c| ends(*c)));
            }
            None => clean.push_str(word),
        }
    }
    clean
}

fn one_line(text: &str, most: usize) -> String {
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect();
    if text.chars().nth(most).is_some() { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(body: &[u8]) -> String {
        said(body).unwrap().words
    }

    #[test]
    fn queries_of_urls_are_not_repeated() {
        for (text, expected) in [
            ("Put \"https://s.example/b?X-Amz-Signature=abc&x=1\": EOF", "Put \"https://s.example/b?<redacted>\": EOF"),
            ("https://s.example/b?sig=abc", "https://s.example/b?<redacted>"),
            ("is it there? see https://s.example/b", "is it there? see https://s.example/b"),
        ] {
            assert_eq!(without_queries(text), expected);
        }
        let body = br#"{"errors":[{"code":"UNKNOWN","message":"x","detail":{"Path":"https://s.example/b?sig=abc"}}]}"#;
        let words = said(body).unwrap().words;
        assert!(!words.contains("abc") && words.contains("https://s.example/b?<redacted>"), "{words}");
    }

    #[test]
    fn an_error_document_is_read() {
        let body =
            br#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match","detail":{"d":1}}]}"#;
        let found = said(body).unwrap();
        assert_eq!(found.codes, ["DIGEST_INVALID"]);
        assert_eq!(found.words, "DIGEST_INVALID: provided digest did not match");
        assert_eq!(words(br#"{"errors":[{"code":"X"}]}"#), "X: ");
        let many = format!(r#"{{"errors":[{}]}}"#, vec![r#"{"code":"X","message":"y"}"#; 50].join(","));
        assert_eq!(words(many.as_bytes()), "X: y; X: y; X: y");
    }

    #[test]
    fn the_detail_of_an_unknown_error_is_the_essence() {
        let body = br#"{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"Op":"write","Err":28}}]}"#;
        assert_eq!(words(body), r#"UNKNOWN: unknown error ({"Err":28,"Op":"write"})"#);
        let body = br#"{"errors":[{"code":"UNSUPPORTED","message":"no","detail":"read-only"}]}"#;
        assert_eq!(words(body), "UNSUPPORTED: no (read-only)");
        let detail = format!("write /{}: no space left on device", "x".repeat(500));
        let body = format!(r#"{{"errors":[{{"code":"UNKNOWN","message":"unknown error","detail":"{detail}"}}]}}"#);
        assert!(said(body.as_bytes()).unwrap().mentions("no space left"));
    }

    #[test]
    fn a_page_of_a_proxy_is_called_one_and_anything_else_is_quoted() {
        let page = b"<html>\r\n<head><title>413 Request Entity Too Large</title></head><body>nginx</body></html>";
        assert_eq!(words(page), "with a page of a proxy: `413 Request Entity Too Large`");
        assert_eq!(words(b"<!DOCTYPE HTML><p>no"), "with a page of a proxy");
        assert_eq!(words("<html><TITLE>ä</TITLE>".as_bytes()), "with a page of a proxy: `ä`");
        assert_eq!(words(b"no\r\nspace"), "no  space");
        assert_eq!(said(b" \n"), None);
        assert_eq!(words(&[b'x'; 5000]).chars().count(), MAX_TEXT + 1);
    }
}
