//! A tunnel through an HTTP proxy: CONNECT (RFC 9110 §9.3.6) and what comes back.

use std::fmt;
use std::time::Duration;

use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use url::Host;

use super::is_temporary;
use super::secret::basic;
use crate::policy::{Origin, Proxy, ProxyCredentials};

/// The most bytes of everything that a proxy says before the tunnel.
const MAX_HEAD: usize = 16 * 1024;
/// The most fields of one answer.
const MAX_FIELDS: usize = 64;
/// The most interim answers (1xx) before the one that counts.
const MAX_INTERIM: usize = 4;
/// How much is read at once.
const READ: usize = 1024;
/// The most characters of a proxy's reason that are repeated.
const MAX_REASON: usize = 80;

/// Why there is no tunnel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoTunnel {
    /// It wants other credentials, or some (407).
    Credentials,
    /// It answered with that status and these words.
    Refused(u16, String),
    /// What it said is no answer.
    Improper(&'static str),
    /// It ended or broke.
    Broken(std::io::ErrorKind),
    /// It said nothing that is an answer for so long.
    Silent(Duration),
}

/// Asks the proxy at the other end of `io` for a tunnel to `origin`. What follows on `io` is between us and the origin.
pub(super) async fn tunnel<I>(io: &mut I, proxy: &Proxy, origin: &Origin) -> Result<(), NoTunnel>
where
    I: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    let broken = |why: std::io::Error| NoTunnel::Broken(why.kind());
    io.write_all(&request(proxy, origin)).await.map_err(broken)?;
    io.flush().await.map_err(broken)?;
    let (mut said, mut part) = (Vec::new(), [0; READ]);
    let mut interim = 0_usize;
    loop {
        while let Some((status, reason, length)) = answer(&said)? {
            match status {
                101 => return Err(NoTunnel::Improper("it switches protocols")),
                100..=199 if interim < MAX_INTERIM => interim = interim.saturating_add(1),
                100..=199 => return Err(NoTunnel::Improper("it has one interim answer after another")),
                // In a tunnel the client speaks first: whatever is there already is not from the origin.
                200..=299 if said.len() > length => {
                    return Err(NoTunnel::Improper("it has more to say than its answer"));
                }
                // A length or a coding of such an answer means nothing.
                200..=299 => return Ok(()),
                407 => return Err(NoTunnel::Credentials),
                _ => return Err(NoTunnel::Refused(status, reason)),
            }
            said.drain(..length);
        }
        if said.len() >= MAX_HEAD {
            return Err(NoTunnel::Improper("its answer has no end"));
        }
        let count = io.read(&mut part).await.map_err(broken)?;
        if count == 0 {
            return Err(NoTunnel::Broken(std::io::ErrorKind::UnexpectedEof));
        }
        said.extend_from_slice(part.get(..count).unwrap_or_default());
    }
}

/// The value of a Proxy-Authorization field, marked as sensitive.
pub(super) fn authorization(credentials: &ProxyCredentials) -> HeaderValue {
    basic(&credentials.expose())
}

impl NoTunnel {
    /// Whether the same request can succeed later.
    pub(super) const fn is_temporary(&self) -> bool {
        match self {
            Self::Refused(status, _) => is_temporary(*status),
            Self::Broken(_) | Self::Silent(_) => true,
            Self::Credentials | Self::Improper(_) => false,
        }
    }
}

impl fmt::Display for NoTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials => f.write_str("it wants other credentials (407)"),
            Self::Refused(status, reason) => write!(f, "{status} {reason}"),
            Self::Improper(why) => f.write_str(why),
            Self::Broken(std::io::ErrorKind::UnexpectedEof) => {
                f.write_str("it closed the connection without an answer")
            }
            Self::Broken(kind) => write!(f, "the connection broke: {kind}"),
            Self::Silent(limit) => write!(f, "no answer within {} s", limit.as_secs()),
        }
    }
}

/// The request, with the port even where it is the scheme's own.
fn request(proxy: &Proxy, origin: &Origin) -> Vec<u8> {
    let host = match origin.host() {
        Host::Domain(name) => name.clone(),
        address => address.to_string(),
    };
    let authority = format!("{host}:{}", origin.port());
    let agent = concat!("longshore/", env!("CARGO_PKG_VERSION"));
    let mut request =
        format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {agent}\r\n").into_bytes();
    if let Some(credentials) = &proxy.credentials {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization(credentials).as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// Status, reason and length of the answer that stands at the beginning; none if it is not there to its end.
fn answer(said: &[u8]) -> Result<Option<(u16, String, usize)>, NoTunnel> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    match head.parse(said) {
        Ok(httparse::Status::Complete(length)) => {
            let reason = head.reason.unwrap_or_default().chars().take(MAX_REASON).collect();
            Ok(Some((head.code.unwrap_or_default(), reason, length)))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(NoTunnel::Improper("its answer has too many fields")),
        Err(_) => Err(NoTunnel::Improper("its answer is no HTTP/1.1")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn proxy(text: &str) -> Proxy {
        Proxy::parse(text, "HTTPS_PROXY").unwrap()
    }

    fn origin(url: &str) -> Origin {
        Origin::of(&url::Url::parse(url).unwrap()).unwrap()
    }

    /// What becomes of a tunnel whose proxy says this and then ends, or keeps silent.
    async fn outcome(said: &[u8], ends: bool) -> Result<(), NoTunnel> {
        let (mut near, mut far) = duplex(1 << 20);
        far.write_all(said).await.unwrap();
        if ends {
            far.shutdown().await.unwrap();
        }
        tunnel(&mut near, &proxy("http://p:1"), &origin("https://a.example/")).await
    }

    #[test]
    fn a_request_names_the_origin_and_who_asks() {
        let text = |proxy: &Proxy, url| String::from_utf8(request(proxy, &origin(url))).unwrap();
        let plain = text(&proxy("http://p:1"), "https://a.example/x?secret#f");
        assert!(plain.starts_with("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nUser-Agent: longshore/"));
        assert!(!plain.contains("secret") && !plain.contains("Authorization"));
        assert!(
            text(&proxy("p"), "https://[2001:db8::1]:8443/").starts_with("CONNECT [2001:db8::1]:8443 HTTP/1.1\r\n")
        );
        let known = text(&proxy("http://u:p%3Aw@p:1"), "https://a.example/");
        assert!(known.ends_with("\r\nProxy-Authorization: Basic dTpwOnc=\r\n\r\n"), "{known}");
    }

    #[tokio::test]
    async fn a_tunnel_is_there_once_the_proxy_says_so_and_no_more() {
        for said in [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 200 OK\r\nVia: x\r\n\r\n",
            "HTTP/1.1 204 \r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200\r\n\r\n",
        ] {
            assert_eq!(outcome(said.as_bytes(), false).await, Ok(()), "{said}");
        }
    }

    #[tokio::test]
    async fn whatever_else_it_says_is_an_end_with_its_name() {
        let refused = |status, reason: &str| NoTunnel::Refused(status, reason.to_owned());
        for (said, why) in [
            ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", NoTunnel::Credentials),
            ("HTTP/1.1 403 Not here\r\n\r\n<html>", refused(403, "Not here")),
            ("HTTP/1.1 502 \r\n\r\n", refused(502, "")),
            ("HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", refused(302, "Found")),
            ("HTTP/1.1 200 OK\r\n\r\nmore", NoTunnel::Improper("it has more to say than its answer")),
            ("HTTP/1.1 101 Switching\r\n\r\n", NoTunnel::Improper("it switches protocols")),
            ("SSH-2.0-OpenSSH\r\n", NoTunnel::Improper("its answer is no HTTP/1.1")),
            ("\u{15}\u{3}\u{3}\0\u{2}\u{2}F", NoTunnel::Improper("its answer is no HTTP/1.1")),
            ("HTTP/1.1 200", NoTunnel::Broken(std::io::ErrorKind::UnexpectedEof)),
            ("", NoTunnel::Broken(std::io::ErrorKind::UnexpectedEof)),
        ] {
            assert_eq!(outcome(said.as_bytes(), true).await, Err(why), "{said}");
        }
        let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_INTERIM + 1);
        let why = NoTunnel::Improper("it has one interim answer after another");
        assert_eq!(outcome(interim.as_bytes(), false).await, Err(why));
    }

    #[tokio::test]
    async fn what_it_says_is_bounded() {
        let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS + 1));
        let why = NoTunnel::Improper("its answer has too many fields");
        assert_eq!(outcome(fields.as_bytes(), false).await, Err(why));
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(2 * MAX_HEAD));
        let why = NoTunnel::Improper("its answer has no end");
        assert_eq!(outcome(endless.as_bytes(), false).await, Err(why));
    }

    #[test]
    fn what_may_succeed_later() {
        assert!(NoTunnel::Refused(503, String::new()).is_temporary());
        assert!(!NoTunnel::Refused(403, String::new()).is_temporary());
        assert!(NoTunnel::Broken(std::io::ErrorKind::UnexpectedEof).is_temporary());
        assert!(!NoTunnel::Credentials.is_temporary());
    }
}
