//! The receiver of webhooks that measures: how long after `sent_ns` each incident came, how many
//! distinct ones, and how many came twice. `GET /stats`, `GET /reset`, and
//! `GET /wait?incidents=N&milliseconds=M`, which answers as `/stats` once N distinct ones are there.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, time::timeout};

use crate::{
    options::Options,
    stats::{histogram, latencies, now_ns},
};

const MARK: &[u8] = b"sent_ns";

struct Counts {
    posts: u64,
    repeated: u64,
    unmarked: u64,
    unknown: u64,
    incidents: HashSet<String>,
    messages: HashSet<String>,
    first_ns: u64,
    last_ns: u64,
    latency: Histogram<u64>,
}

impl Counts {
    fn new() -> Self {
        Self {
            posts: 0,
            repeated: 0,
            unmarked: 0,
            unknown: 0,
            incidents: HashSet::new(),
            messages: HashSet::new(),
            first_ns: 0,
            last_ns: 0,
            latency: histogram(),
        }
    }

    fn told(&self) -> Value {
        let mut told = latencies(&self.latency);
        told["posts"] = json!(self.posts);
        told["incidents"] = json!(self.incidents.len());
        told["messages"] = json!(self.messages.len());
        told["repeated"] = json!(self.repeated);
        told["unmarked"] = json!(self.unmarked);
        told["unknown"] = json!(self.unknown);
        told["first_ns"] = json!(self.first_ns);
        told["last_ns"] = json!(self.last_ns);
        told
    }
}

struct Sink {
    counts: Mutex<Counts>,
    news: Notify,
}

impl Sink {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, message: Option<String>, body: &[u8], at: u64) {
        let items = items(body);
        let mut counts = self.counts();
        counts.posts += 1;
        if counts.first_ns == 0 {
            counts.first_ns = at;
        }
        counts.last_ns = at;
        if let Some(message) = message {
            counts.messages.insert(message);
        }
        if items.is_empty() {
            counts.unknown += 1;
        }
        for (incident, sent) in items {
            if !counts.incidents.insert(incident) {
                counts.repeated += 1;
                continue;
            }
            match sent {
                Some(sent) => counts.latency.saturating_record(at.saturating_sub(sent) / 1000),
                None => counts.unmarked += 1,
            }
        }
        drop(counts);
        self.news.notify_waiters();
    }

    async fn wait(&self, incidents: usize, within: Duration) {
        let enough = async {
            loop {
                let news = self.news.notified();
                if self.counts().incidents.len() >= incidents {
                    break;
                }
                news.await;
            }
        };
        // Who waits reads from the counts whether it was enough.
        let _ = timeout(within, enough).await;
    }
}

/// What a body tells of: each incident with the instant its alert was sent. Ours names the incident,
/// the bare pipeline too; Alertmanager knows alerts by their fingerprint.
fn items(body: &[u8]) -> Vec<(String, Option<u64>)> {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    if let Some(alerts) = value["alerts"].as_array() {
        let one = |alert: &Value| Some((alert["fingerprint"].as_str()?.to_owned(), mark(alert.to_string().as_bytes())));
        return alerts.iter().filter_map(one).collect();
    }
    let incident = value["data"]["incident"]["id"].as_str().or_else(|| value["incident_id"].as_str());
    incident.map(|incident| (incident.to_owned(), mark(body))).into_iter().collect()
}

/// The digits after the first `sent_ns`, however it is quoted.
fn mark(body: &[u8]) -> Option<u64> {
    let at = body.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let rest = &body[at..];
    let begin = rest.iter().take(8).position(u8::is_ascii_digit)?;
    let digits: Vec<u8> = rest[begin..].iter().copied().take_while(u8::is_ascii_digit).collect();
    String::from_utf8(digits).ok()?.parse().ok()
}

async fn answer(request: Request<Incoming>, sink: Arc<Sink>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == Method::POST {
        let message = request.headers().get("webhook-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        sink.receive(message, &body, now_ns());
        return Ok(Response::new(Full::new(Bytes::from_static(b"{}"))));
    }
    let query = request.uri().query().unwrap_or_default();
    let number = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse::<u64>().ok()).unwrap_or(0)
    };
    match request.uri().path() {
        "/reset" => *sink.counts() = Counts::new(),
        "/wait" => sink.wait(number("incidents") as usize, Duration::from_millis(number("milliseconds"))).await,
        _ => {}
    }
    let told = sink.counts().told().to_string();
    Ok(Response::new(Full::new(Bytes::from(told))))
}

/// Listens at `--listen` until it is ended.
///
/// # Errors
/// Fails when the address is taken.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.need::<String>("listen")?).await?;
    println!("{}", json!({"listening": listener.local_addr()?.to_string()}));
    let sink = Arc::new(Sink { counts: Mutex::new(Counts::new()), news: Notify::new() });
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let sink = Arc::clone(&sink);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&sink)));
            // A sender that goes away ends its connection, which is no error here.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incidents_are_found_in_all_three_bodies() {
        let ours = br#"{"data":{"incident":{"id":"a","description":"full; sent_ns=12 now"}}}"#;
        assert_eq!(items(ours), [("a".to_owned(), Some(12))]);
        let bare = br#"{"incident_id":"b","sent_ns":"34"}"#;
        assert_eq!(items(bare), [("b".to_owned(), Some(34))]);
        let theirs = br#"{"alerts":[{"fingerprint":"c","annotations":{"sent_ns":"56"}},{"fingerprint":"d"}]}"#;
        assert_eq!(items(theirs), [("c".to_owned(), Some(56)), ("d".to_owned(), None)]);
        assert!(items(b"{}").is_empty());
    }

    #[test]
    fn the_same_incident_again_counts_as_repeated() {
        let sink = Sink { counts: Mutex::new(Counts::new()), news: Notify::new() };
        for _ in 0..2 {
            sink.receive(Some("m".to_owned()), br#"{"incident_id":"b","sent_ns":"1000"}"#, 5000);
        }
        let told = sink.counts().told();
        assert_eq!((&told["incidents"], &told["repeated"], &told["count"]), (&json!(1), &json!(1), &json!(1)));
    }
}
