//! The keys of a document of whatever shape, of which nothing is kept.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::document::{MalformedDocument, malformed};

/// The first key that is not one of `known`, and that readers who do not tell large from small letters (Go's `encoding/json`) take
/// for one of them. What stands under the keys `but` is not looked into.
///
/// # Errors
/// If it is no JSON.
pub fn lookalike(bytes: &[u8], known: &[&str], but: &[&str]) -> Result<Option<String>, MalformedDocument> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let found = Keys { known, but }.deserialize(&mut reader).map_err(malformed)?;
    reader.end().map_err(malformed)?;
    Ok(found)
}

/// What a document says that it is.
///
/// # Errors
/// If it is no JSON object, or says so twice, or not in words.
pub fn media_type(bytes: &[u8]) -> Result<Option<String>, MalformedDocument> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "mediaType", default)]
        media_type: Option<String>,
    }
    serde_json::from_slice::<Typed>(bytes).map(|typed| typed.media_type).map_err(malformed)
}

#[derive(Clone, Copy)]
struct Keys<'a> {
    known: &'a [&'a str],
    but: &'a [&'a str],
}

impl Keys<'_> {
    fn is_like(&self, key: &str) -> bool {
        // U+017F and U+212A are an s and a k to Go.
        let folded = key.replace('\u{17f}', "s").replace('\u{212a}', "k");
        self.known.iter().any(|known| known.eq_ignore_ascii_case(&folded) && *known != key)
    }
}

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if self.but.contains(&&*key) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let within = map.next_value_seed(self)?;
            let own = self.is_like(&key).then_some(key);
            found = found.or(own).or(within);
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(within) = values.next_element_seed(self)? {
            found = found.or(within);
        }
        Ok(found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_wherever_they_stand_and_nothing_else_is() {
        let found = |text: &str| lookalike(text.as_bytes(), &["layers", "os"], &["annotations"]).unwrap();
        for plain in [
            r#"{"layers": [1, -1, 1.5, "LAYERS", true, null, {"os": "OS"}], "annotations": {"Layers": 1}}"#,
            "[]",
            "7",
            r#"{"Annotations": {}}"#,
        ] {
            assert_eq!(found(plain), None, "{plain}");
        }
        assert_eq!(found(r#"{"x": [[{"Layers": 1}]]}"#).as_deref(), Some("Layers"));
        assert_eq!(found(r#"{"layers": 1, "layer\u017f": 1}"#).as_deref(), Some("layer\u{17f}"));
        for wrong in ["", "{", "{} {}", r#"{"a" 1}"#, &"[".repeat(200)] {
            assert!(lookalike(wrong.as_bytes(), &[], &[]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_it_is_is_said_once_and_in_words() {
        assert_eq!(media_type(br#"{"mediaType": "x"}"#).unwrap().as_deref(), Some("x"));
        assert_eq!(media_type(br#"{"mediaType": null, "x": [1]}"#).unwrap(), None);
        for wrong in [&br#"{"mediaType": 1}"#[..], br#"{"mediaType": "x", "mediaType": "y"}"#, b"7"] {
            assert!(media_type(wrong).is_err());
        }
    }
}
