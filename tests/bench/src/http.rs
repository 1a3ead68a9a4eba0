//! Alerts by HTTP, one or a batch a POST, in a closed loop or at a rate. Latency in the open loop
//! counts from the instant a POST was due, so that a stall is not left out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::json;

use crate::{
    options::Options,
    stats::{histogram, latencies, own_cpu, rounded},
    template::Template,
};

struct Plan {
    url: String,
    template: Template,
    before: String,
    after: String,
    batch: u64,
    headers: Vec<(String, String)>,
    rate: f64,
    seconds: f64,
    count: u64,
    next: AtomicU64,
    bad: AtomicU64,
}

struct Result {
    latency: Histogram<u64>,
    error: Option<String>,
}

impl Plan {
    fn read(options: &Options) -> anyhow::Result<Self> {
        let headers = options.all("header").filter_map(|header| header.split_once(':'));
        Ok(Self {
            url: options.need("url")?,
            template: Template::read(options)?,
            before: options.or("before", String::new())?,
            after: options.or("after", String::new())?,
            batch: options.or("batch", 1)?,
            headers: headers.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect(),
            rate: options.or("rate", 0.0)?,
            seconds: options.or("seconds", 10.0)?,
            count: options.or("count", u64::MAX)?,
            next: AtomicU64::new(0),
            bad: AtomicU64::new(0),
        })
    }

    fn body(&self, number: u64) -> String {
        let items: Vec<String> = (0..self.batch).map(|offset| self.template.body(number + offset)).collect();
        format!("{}{}{}", self.before, items.join(","), self.after)
    }

    async fn post(&self, client: &Client<HttpConnector, Full<Bytes>>, number: u64) -> anyhow::Result<()> {
        let mut request = Request::post(&self.url).header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = client.request(request.body(Full::new(Bytes::from(self.body(number))))?).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let told = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        anyhow::ensure!(status.is_success(), "{status} {told}");
        Ok(())
    }

    async fn one_connection(&self, client: Client<HttpConnector, Full<Bytes>>, began: Instant) -> Result {
        let mut result = Result { latency: histogram(), error: None };
        loop {
            let number = self.next.fetch_add(self.batch, Relaxed);
            if number >= self.count {
                return result;
            }
            let mut start = Instant::now();
            if self.rate > 0.0 {
                let due = began + Duration::from_secs_f64(number as f64 / self.rate);
                if due > start {
                    tokio::time::sleep_until(due.into()).await;
                }
                start = due;
            }
            if began.elapsed().as_secs_f64() >= self.seconds {
                return result;
            }
            if let Err(error) = self.post(&client, number).await {
                self.bad.fetch_add(1, Relaxed);
                result.error.get_or_insert(format!("{error:#}"));
            }
            result.latency.saturating_record(start.elapsed().as_micros() as u64);
        }
    }
}

/// Posts and tells how it went.
///
/// # Errors
/// Fails when the options do not fit.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let plan = Arc::new(Plan::read(options)?);
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1024).build(connector);
    let (began, cpu) = (Instant::now(), own_cpu());
    let connections = (0..options.or("connections", 8)?).map(|_| {
        let (plan, client) = (Arc::clone(&plan), client.clone());
        tokio::spawn(async move { plan.one_connection(client, began).await })
    });
    let (mut latency, mut first_error) = (histogram(), None);
    for connection in connections.collect::<Vec<_>>() {
        let result = connection.await?;
        latency.add(&result.latency)?;
        first_error = first_error.or(result.error);
    }
    let seconds = began.elapsed().as_secs_f64();
    let mut told = latencies(&latency);
    told["items"] = json!(latency.len() * plan.batch);
    told["bad"] = json!(plan.bad.load(Relaxed));
    told["seconds"] = json!(rounded(seconds));
    told["posts_per_second"] = json!(rounded(latency.len() as f64 / seconds));
    told["generator_cpu_s"] = json!(rounded(own_cpu() - cpu));
    told["first_error"] = json!(first_error);
    println!("{told}");
    Ok(())
}
