//! Webhooks by the Standard Webhooks specification: a signed POST, no redirects, no proxies, bounded
//! in time and size. What the receiver writes back is counted, never kept or shown.

use std::{error::Error as _, io, sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Client, ClientBuilder, Response, StatusCode, header, redirect};

use super::{
    Report,
    address::{AllowList, Forbidden, JudgingResolver, Lookup, check_url, forbidden},
};
use crate::{
    domain::{DeliveryId, Outcome},
    seal::SigningSecret,
};

/// How long a receiver may take to answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(15);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long and how much of an answer's body is read, so that the connection can be used again.
const BODY_WITHIN: Duration = Duration::from_secs(2);
const BODY_AT_MOST: usize = 64 * 1024;
const AGENT: &str = concat!("itsm/", env!("CARGO_PKG_VERSION"));

/// Posts webhooks.
#[derive(Debug, Clone)]
pub struct Poster {
    allow: Arc<AllowList>,
    /// For the public internet and listed networks: every name is judged when connecting.
    judging: Client,
    /// For endpoints that the settings list by host and port.
    trusting: Client,
}

impl Poster {
    /// Prepares both clients.
    ///
    /// # Errors
    /// Fails when TLS cannot be set up.
    pub fn new(allow: AllowList, lookup: Lookup) -> Result<Self, reqwest::Error> {
        let allow = Arc::new(allow);
        let judging =
            build(|builder| builder.dns_resolver(JudgingResolver::new(Arc::clone(&allow), Arc::clone(&lookup))))?;
        Ok(Self { judging, trusting: build(|builder| builder)?, allow })
    }

    /// The list of the settings.
    #[must_use]
    pub fn allow(&self) -> &AllowList {
        &self.allow
    }

    /// Posts one message. `url` is judged anew, since the settings may have changed.
    pub async fn post(
        &self,
        id: DeliveryId,
        url: &str,
        secret: &SigningSecret,
        body: String,
        now: DateTime<Utc>,
    ) -> Report {
        let target = match check_url(url, &self.allow) {
            Ok(target) => target,
            Err(forbidden) => return refused(&forbidden),
        };
        let client = if target.listed { &self.trusting } else { &self.judging };
        let timestamp = now.timestamp();
        let signature = sign(&[secret], &id.to_string(), timestamp, &body);
        // So that a receiver that traces too goes on with the trace.
        let trace = kit::trace::current();
        let request = client.post(target.url);
        let request = if trace.is_empty() { request } else { request.header("traceparent", trace) };
        let answer = request
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id.to_string())
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body)
            .send()
            .await;
        match answer {
            Ok(response) => {
                let report = judge(&response, now);
                drain(response).await;
                report
            }
            Err(error) => explain(&error),
        }
    }
}

fn build(with: impl Fn(ClientBuilder) -> ClientBuilder) -> Result<Client, reqwest::Error> {
    let plain = || {
        Client::builder()
            .user_agent(AGENT)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .timeout(ANSWER_WITHIN)
            .connect_timeout(CONNECT_WITHIN)
            .pool_max_idle_per_host(2)
            .pool_idle_timeout(Duration::from_secs(30))
    };
    with(plain()).build().or_else(|error| {
        // A machine without certificate authorities can still reach listed plain http.
        tracing::warn!(%error, "no certificate authorities found; https webhooks will fail");
        with(plain()).tls_certs_only([]).build()
    })
}

/// The value of `webhook-signature`: one signature a secret, so that a secret can be replaced while
/// receivers still know the old one.
#[must_use]
pub fn sign(secrets: &[&SigningSecret], id: &str, timestamp: i64, body: &str) -> String {
    let content = format!("{id}.{timestamp}.{body}");
    let signature = |secret: &&SigningSecret| {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.bytes()), content.as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    };
    secrets.iter().map(signature).collect::<Vec<_>>().join(" ")
}

fn judge(response: &Response, now: DateTime<Utc>) -> Report {
    let status = response.status();
    let outcome = match status {
        StatusCode::GONE => Outcome::Gone,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Outcome::Retry(retry_after(response, now)),
        status if status.is_success() => Outcome::Delivered,
        status if status.is_server_error() => Outcome::Retry(retry_after(response, now)),
        _ => Outcome::Refused,
    };
    let remark = if status.is_redirection() { "; redirects are not followed" } else { "" };
    let name = status.canonical_reason().unwrap_or_default();
    Report { outcome, detail: format!("HTTP {} {name}", status.as_u16()).trim_end().to_owned() + remark }
}

/// `Retry-After` in seconds or as a date.
fn retry_after(response: &Response, now: DateTime<Utc>) -> Option<TimeDelta> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(TimeDelta::seconds(seconds.into()));
    }
    let rest = DateTime::parse_from_rfc2822(text).ok()?.to_utc() - now;
    (rest > TimeDelta::zero()).then_some(rest)
}

async fn drain(mut response: Response) {
    let read = async {
        let mut rest = BODY_AT_MOST;
        while let Ok(Some(chunk)) = response.chunk().await {
            match rest.checked_sub(chunk.len()) {
                Some(less) => rest = less,
                None => break,
            }
        }
    };
    // The answer's head has said all that counts.
    let _ = tokio::time::timeout(BODY_WITHIN, read).await;
}

fn refused(forbidden: &Forbidden) -> Report {
    Report { outcome: Outcome::Refused, detail: format!("the URL {forbidden}") }
}

/// Says what went wrong without the URL, which only its owner may see.
fn explain(error: &reqwest::Error) -> Report {
    if let Some(found) = forbidden(error) {
        return match found {
            Forbidden::NoAddress => {
                Report { outcome: Outcome::Retry(None), detail: "the host has no address".to_owned() }
            }
            other => refused(&other),
        };
    }
    let mut source = error.source();
    let mut kind = None;
    while let Some(inner) = source {
        kind = inner.downcast_ref::<io::Error>().map(io::Error::kind).or(kind);
        source = inner.source();
    }
    let detail = match kind {
        _ if error.is_timeout() => format!("no answer within {} s", ANSWER_WITHIN.as_secs()),
        Some(kind) if error.is_connect() => format!("cannot connect: {kind}"),
        None if error.is_connect() => "cannot connect".to_owned(),
        Some(kind) => format!("the connection broke: {kind}"),
        None => "the connection broke, or the answer was no HTTP".to_owned(),
    };
    Report { outcome: Outcome::Retry(None), detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        let secret: SigningSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", r#"{"test": 2432232314}"#);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(&[&secret], id, 1_614_265_330, body), expected);
        let other = SigningSecret::draw().unwrap();
        let both = sign(&[&secret, &other], id, 1_614_265_330, body);
        assert_eq!(both.split(' ').count(), 2);
        assert!(both.starts_with(expected));
        assert_ne!(sign(&[&secret], id, 1_614_265_331, body), expected);
    }

    async fn posted(url: &str, addresses: &'static [&'static str]) -> Report {
        let lookup: Lookup = Arc::new(move |_| {
            Box::pin(async move { Ok(addresses.iter().map(|text| text.parse().unwrap()).collect()) })
        });
        let poster = Poster::new(AllowList::default(), lookup).unwrap();
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        poster.post(DeliveryId::draw(), url, &SigningSecret::draw().unwrap(), String::new(), now).await
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_when_connecting_and_the_url_is_not_told() {
        for addresses in [&["127.0.0.1:0"] as &[_], &["8.8.8.8:0", "[::1]:0"], &["[::ffff:127.0.0.1]:0"]] {
            let report = posted("https://hooks.example.com/secret-path", addresses).await;
            assert_eq!(report.outcome, Outcome::Refused, "{report:?}");
            assert!(report.detail.starts_with("the URL leads to a loopback address"), "{report:?}");
        }
        let nowhere = posted("https://hooks.example.com/secret-path", &[]).await;
        assert_eq!((nowhere.outcome, nowhere.detail.as_str()), (Outcome::Retry(None), "the host has no address"));
        let literal = posted("https://[::ffff:169.254.169.254]/", &[]).await;
        assert_eq!(literal.outcome, Outcome::Refused);
    }
}
