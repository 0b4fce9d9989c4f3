//! What `serve` asks of the policy besides what each of its imports asks.

use std::time::Duration;

use super::{Answer, Answered};
use crate::error::{Code, Error, Stage};
use crate::policy::Policy;

/// The questions of a listener that speaks TLS, or of one that does not.
#[must_use]
pub fn explain_listener(policy: &Policy, tls: bool) -> Vec<Answer> {
    let allowed = |subject: String, key| Answer { subject, verdict: Answered::Allowed(policy.rule(key)) };
    let mut answers = match tls {
        true => {
            let versions: Vec<&str> = policy.tls.versions.iter().map(|version| version.as_str()).collect();
            let suites: Vec<&str> = policy.tls.suites.iter().map(|suite| suite.as_str()).collect();
            vec![
                allowed(format!("listen with {}", versions.join(", ")), "tls.versions"),
                allowed(format!("speak to clients in {}", suites.join(", ")), "tls.suites"),
            ]
        }
        false => {
            let verdict = match policy.may_listen_without_tls("--without-tls", "takes disks in") {
                Ok(rule) => Answered::Allowed(rule),
                Err(why) => {
                    Answered::Denied(Error::new(Code::FlagDenied, Stage::Plan, why.to_string()).hint(why.advice()))
                }
            };
            vec![Answer { subject: "listen without TLS".to_owned(), verdict }]
        }
    };
    let open = |subject: String, key| Answer { subject, verdict: Answered::Open(policy.rule(key)) };
    let limits = &policy.limits;
    let seconds = |time: Duration| format!("{} s", time.as_secs());
    let stretch = seconds(limits.client_stall);
    answers.extend([
        open(
            format!(
                "wait {} for a client to shake hands, and for the head of its request",
                seconds(limits.client_head)
            ),
            "limits.client-head",
        ),
        open(format!("wait {stretch} for a client's next byte"), "limits.client-stall"),
        open(
            format!("take a disk that comes at {} bytes per second, over each {stretch}", limits.client_rate),
            "limits.client-rate",
        ),
        open(
            format!("wait {} in all for a client that sends its disk in parts", seconds(limits.client_away)),
            "limits.client-away",
        ),
    ]);
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(policy: &Policy, tls: bool) -> Vec<String> {
        let line = |Answer { subject, verdict }: Answer| match verdict {
            Answered::Allowed(rule) => format!("allowed {subject}: {rule}"),
            Answered::Open(rule) => format!("open {subject}: {rule}"),
            Answered::Denied(error) => format!("denied {subject}: {error}"),
        };
        explain_listener(policy, tls).into_iter().map(line).collect()
    }

    #[test]
    fn a_listener_speaks_what_the_policy_offers_and_waits_as_long_as_it_says() {
        let lines = lines(&Policy::default(), true);
        assert!(lines[0].starts_with("allowed listen with TLSv1.3, TLSv1.2: `tls.versions` (built-in)"), "{lines:?}");
        assert!(
            lines[1].contains("TLS_AES_128_GCM_SHA256") && lines[1].ends_with("`tls.suites` (built-in)"),
            "{lines:?}"
        );
        assert_eq!(lines.len(), 6);
        assert!(
            lines[5].contains("600 s in all") && lines[5].ends_with("`limits.client-away` (built-in)"),
            "{lines:?}"
        );
    }

    #[test]
    fn without_tls_it_listens_by_default_only() {
        assert_eq!(lines(&Policy::default(), false)[0], "allowed listen without TLS: `flags.allow` (built-in)");
    }
}
