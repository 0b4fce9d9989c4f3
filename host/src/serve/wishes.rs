//! What a client may say about its disk: a name, checksums, the size behind a filter, and a tag where the operator lets it.
//!
//! In the query of `/upload`, or with tus in `Upload-Metadata` (tus 1.0.0, creation). Of the query nothing is ignored; of the
//! metadata, which clients fill as they like, everything that is not known.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE as MEDIA_TYPE};
use http::{HeaderMap, HeaderValue};
use url::form_urlencoded;

use super::Manners;
use super::answer::Refused;
use super::refusal::Refusal;
use crate::oci::Tag;
use crate::pipeline::{Checksum, Choice, Input, Plan, Source, sanitised};

/// The most checksums of one upload.
const MAX_CHECKSUMS: usize = 8;
/// Says that a disk comes as snappy frames: what the cloner of block devices sends (CDI).
const CONTENT_TYPE: &str = "x-cdi-content-type";
const CLONE: &str = "blockdevice-clone";
/// The media types of forms, with files and without.
const MULTIPART: &str = "multipart/";
const URLENCODED: &str = "application/x-www-form-urlencoded";
/// What takes them off.
const SNAPPY: &str = "filter-snappy";

/// A client's wishes.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// The name of the disk in the image.
    name: Option<String>,
    /// Checksums that are demanded besides the operator's.
    checksums: Vec<Checksum>,
    /// The size of the disk behind the filters.
    size: Option<u64>,
    /// The tag.
    tag: Option<Tag>,
    /// Whether the disk comes as snappy frames.
    snappy: bool,
}

impl Wishes {
    /// Reads query and fields of a request. `may_tag` is whether clients choose the tag, and `manners` decide whether what curl
    /// calls a form is a disk.
    pub(super) fn read(
        query: Option<&str>,
        fields: &HeaderMap,
        may_tag: bool,
        manners: Manners,
    ) -> Result<Self, Refused> {
        let mut wishes = Self::default();
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !wishes.wish(&key, &value, may_tag)? {
                return Err(malformed(format!("the parameter `{}` is unknown", cut(&key)))
                    .hint("known are name, checksum, size and tag"));
            }
        }
        let metadata = metadata(fields)?;
        let has_name = metadata.iter().any(|(key, _)| key == "name");
        for (key, value) in &metadata {
            // Some clients send both, and mean the same.
            let key = match key.as_str() {
                "filename" if has_name => continue,
                "filename" => "name",
                key => key,
            };
            wishes.wish(key, value, may_tag)?;
        }
        as_it_is(fields, manners)?;
        wishes.snappy = match single(fields, CONTENT_TYPE)? {
            None => false,
            Some(CLONE) => true,
            Some(other) => {
                return Err(malformed(format!("`{CONTENT_TYPE}` is `{}`, expected `{CLONE}`", cut(other))));
            }
        };
        Ok(wishes)
    }

    /// The tags of the image: the client's, else the operator's.
    pub(super) fn tags(&self, operator: &[Tag]) -> Vec<Tag> {
        self.tag.as_ref().map_or_else(|| operator.to_vec(), |tag| vec![tag.clone()])
    }

    /// The operator's plan for this disk, of which `length` bytes come. What the operator says goes before what the client
    /// wishes.
    pub(super) fn planned(&self, operator: &Plan, source: Source, length: Option<u64>) -> Plan {
        let mut plan = operator.clone();
        plan.input = Input { source, size: length, ..plan.input };
        if self.snappy {
            plan.chosen.filters = plan.chosen.filters.behind(Choice::BuiltIn(SNAPPY.to_owned()));
        }
        plan.disk_size = if plan.chosen.filters.are_none() { self.size.or(length) } else { self.size };
        if plan.chosen.filters.are_none() && plan.input.size.is_none() {
            plan.input.size = self.size;
        }
        plan.name = plan.name.or_else(|| self.name.as_deref().map(sanitised));
        plan.checksums.extend(self.checksums.iter().cloned());
        plan.tags = self.tags(&operator.tags);
        plan
    }

    /// Takes one wish; false if nobody knows it.
    fn wish(&mut self, key: &str, value: &str, may_tag: bool) -> Result<bool, Refused> {
        let once = |there: bool| if there { Err(malformed(format!("there is more than one `{key}`"))) } else { Ok(()) };
        match key {
            "name" => {
                once(self.name.is_some())?;
                self.name = Some(value.to_owned());
            }
            "checksum" if self.checksums.len() < MAX_CHECKSUMS => {
                let checksum = value.parse().map_err(|why| malformed(format!("`checksum`: {why}")))?;
                self.checksums.push(checksum);
            }
            "checksum" => return Err(malformed(format!("there are more than {MAX_CHECKSUMS} checksums"))),
            "size" => {
                once(self.size.is_some())?;
                self.size = Some(number("size", value)?);
            }
            "tag" if !may_tag => {
                return Err(Refused::new(Refusal::TagDenied, "clients do not choose the tag here"));
            }
            "tag" => {
                once(self.tag.is_some())?;
                let tag = value.parse().map_err(|why| malformed(format!("`tag`: {why}")))?;
                self.tag = Some(tag);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Refuses a body that is not the disk as it is: what these fields say would be ignored. The uploader that is replaced stored what
/// `curl --data-binary` sends, and clients of it do send it: there that body is the disk.
fn as_it_is(fields: &HeaderMap, manners: Manners) -> Result<(), Refused> {
    if single(fields, CONTENT_ENCODING.as_str())?.is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        let hint = "send the disk as it is; what it is wrapped in comes off by the operator's --filter";
        return Err(malformed("the body has a content coding".to_owned()).hint(hint));
    }
    if fields.contains_key(CONTENT_RANGE) {
        // RFC 9110 §14.5.
        return Err(malformed("a part of a disk is not PUT".to_owned()).hint("uploads in parts: tus 1.0.0"));
    }
    let kind = single(fields, MEDIA_TYPE.as_str())?.unwrap_or_default();
    let is = |form: &&&str| kind.get(..form.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(form));
    let forms: &[&str] = match manners {
        Manners::Own => &[MULTIPART, URLENCODED],
        Manners::Dvcr => &[MULTIPART],
    };
    if let Some(form) = forms.iter().find(is) {
        let hint = "send the disk alone, as `curl -T FILE` does; what curl's -d and --data-binary send is called a form unless \
                    -H 'Content-Type: application/octet-stream' says that it is none";
        return Err(malformed(format!("the body is a form ({form}), expected the disk as it is")).hint(hint));
    }
    Ok(())
}

/// The value of a field that may stand there once.
pub(super) fn single<'a>(fields: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refused> {
    let mut all = fields.get_all(name).iter();
    let Some(value) = all.next() else { return Ok(None) };
    let text = |value: &'a HeaderValue| value.to_str().map_err(|_| malformed(format!("`{name}` is no text")));
    if all.next().is_some() {
        Err(malformed(format!("there is more than one `{name}`")))
    } else {
        text(value).map(Some)
    }
}

/// Digits alone: no sign, no space, nothing that another program may read as another number.
pub(super) fn number(name: &str, text: &str) -> Result<u64, Refused> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| malformed(format!("`{name}` is `{}`, expected a number of bytes", cut(text))))
}

/// A refusal of what cannot be understood.
pub(super) fn malformed(message: String) -> Refused {
    Refused::new(Refusal::Malformed, message)
}

/// A client's words, as far as they are said back to it.
fn cut(text: &str) -> String {
    const MOST: usize = 64;
    text.chars().filter(|c| !c.is_control()).take(MOST).collect()
}

/// `Upload-Metadata`: pairs of a key and a value in Base64, separated by commas; a key may have no value.
fn metadata(fields: &HeaderMap) -> Result<Vec<(String, String)>, Refused> {
    let Some(text) = single(fields, "upload-metadata")? else { return Ok(Vec::new()) };
    let wrong = || malformed("`Upload-Metadata` is malformed".to_owned());
    let pair = |pair: &str| {
        let (key, value) = pair.trim().split_once(' ').unwrap_or_else(|| (pair.trim(), ""));
        let value = STANDARD.decode(value.trim()).ok().and_then(|value| String::from_utf8(value).ok());
        Ok((key.to_owned(), value.filter(|_| !key.is_empty()).ok_or_else(wrong)?))
    };
    text.split(',').map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str, fields: &[(&'static str, &str)], may_tag: bool) -> Result<Wishes, Refusal> {
        let fields: HeaderMap = fields
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        Wishes::read(Some(query), &fields, may_tag, Manners::Own).map_err(|refused| refused.refusal)
    }

    #[test]
    fn what_curl_calls_a_form_is_a_disk_to_clients_of_the_replaced() {
        let read = |kind: &'static str, manners| {
            let fields = HeaderMap::from_iter([(MEDIA_TYPE, HeaderValue::from_static(kind))]);
            Wishes::read(None, &fields, false, manners).is_ok()
        };
        for (kind, own, replaced) in [
            ("application/x-www-form-urlencoded", false, true),
            ("multipart/form-data; boundary=x", false, false),
            ("application/octet-stream", true, true),
        ] {
            assert_eq!((read(kind, Manners::Own), read(kind, Manners::Dvcr)), (own, replaced), "{kind}");
        }
    }

    #[test]
    fn wishes_come_in_the_query_or_as_metadata() {
        let sum = format!("sha256:{}", "ab".repeat(32));
        let wishes =
            read(&format!("name=my%20disk.raw&size=5&tag=v1&checksum={sum}&checksum={sum}"), &[], true).unwrap();
        assert_eq!((wishes.name.as_deref(), wishes.size, wishes.checksums.len()), (Some("my disk.raw"), Some(5), 2));
        assert_eq!(wishes.tags(&[Tag::latest()]), ["v1".parse().unwrap()]);
        let encoded = |text: &str| STANDARD.encode(text);
        let fields =
            format!("filename {}, filetype {},empty,checksum {}", encoded("d.raw"), encoded("x/y"), encoded(&sum));
        let wishes = read("", &[("upload-metadata", &fields)], false).unwrap();
        assert_eq!((wishes.name.as_deref(), wishes.checksums.len()), (Some("d.raw"), 1));
        assert_eq!(wishes.tags(&[Tag::latest()]), [Tag::latest()]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for query in
            ["frobnicate=1", "name=a&name=b", "size=-1", "size=%2B1", "size=", "size=0x10", "tag=a%2Fb", "checksum=x"]
        {
            assert_eq!(read(query, &[], true).unwrap_err(), Refusal::Malformed, "{query}");
        }
        let many = ["checksum=md5:00112233445566778899aabbccddeeff"; 9].join("&");
        assert_eq!(read(&many, &[], true).unwrap_err(), Refusal::Malformed);
        assert_eq!(read("tag=v1", &[], false).unwrap_err(), Refusal::TagDenied);
        for fields in ["name !", "name dA==,name dA==", "", "name dA==,", "name /w=="] {
            assert_eq!(read("", &[("upload-metadata", fields)], true).unwrap_err(), Refusal::Malformed, "{fields}");
        }
        assert_eq!(read("", &[("x-cdi-content-type", "archive")], true).unwrap_err(), Refusal::Malformed);
        for (name, value) in [
            ("content-encoding", "gzip"),
            ("content-range", "bytes 0-1/2"),
            ("content-type", "Multipart/form-data; boundary=x"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("content-type", "Application/X-WWW-Form-Urlencoded; charset=utf-8"),
        ] {
            assert_eq!(read("", &[(name, value)], true).unwrap_err(), Refusal::Malformed, "{name}");
        }
        assert!(read("", &[("content-encoding", "identity"), ("content-type", "application/x")], true).is_ok());
        assert!(read("", &[("x-cdi-content-type", "blockdevice-clone")], true).unwrap().snappy);
    }
}
