//! An image's configuration (OCI image-spec, config.md): the diffIDs of its layers, and nothing else of it.

use serde::Deserialize;

use crate::Digest;

#[derive(Deserialize)]
struct Written {
    rootfs: Option<RootFs>,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Option<Vec<String>>,
}

/// The diffIDs of an image with that many layers, the lowest first; none where the configuration states none.
///
/// # Errors
/// Words for the user.
pub fn diff_ids(config: &[u8], layers: usize) -> Result<Vec<Option<Digest>>, String> {
    let written: Written =
        serde_json::from_slice(config).map_err(|why| format!("the image's configuration is not one: {why}"))?;
    let stated = written.rootfs.and_then(|rootfs| rootfs.diff_ids).unwrap_or_default();
    if stated.is_empty() {
        return Ok(vec![None; layers]);
    }
    if stated.len() != layers {
        let stated = stated.len();
        return Err(format!("the image has {layers} layers, and its configuration diffIDs of {stated}"));
    }
    let parsed = |stated: &String| {
        Digest::parse(stated).map(Some).ok_or_else(|| "a diffID is not sha256 with 64 digits".to_owned())
    };
    stated.iter().map(parsed).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_layer_has_a_diff_id_or_none_has() {
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let config =
            json!({"rootfs": {"type": "layers", "diff_ids": [one.to_string(), other.to_string()]}}).to_string();
        assert_eq!(diff_ids(config.as_bytes(), 2), Ok(vec![Some(one), Some(other)]));
        assert!(diff_ids(config.as_bytes(), 1).unwrap_err().contains("1 layers, and its configuration diffIDs of 2"));
        for nothing in ["{}", r#"{"rootfs": null}"#, r#"{"rootfs": {"diff_ids": []}}"#] {
            assert_eq!(diff_ids(nothing.as_bytes(), 2), Ok(vec![None; 2]), "{nothing}");
        }
        for wrong in ["", "[]", r#"{"rootfs": {"diff_ids": ["sha256:1"]}}"#, r#"{"rootfs": {"diff_ids": [1]}}"#] {
            assert!(diff_ids(wrong.as_bytes(), 1).is_err(), "{wrong}");
        }
    }
}
