//! One repeat of a known alert after the other, over HTTP: how long until the product's table of alerts
//! counts it. The database is read only, as its superuser, by primary key.

use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::json;
use tokio_postgres::NoTls;
use uuid::Uuid;

use crate::{
    options::Options,
    stats::{histogram, latencies},
};

const APPLIED_WITHIN: Duration = Duration::from_secs(10);

/// Says each alert of `--alerts FILE` (lines of id and dedup key) once to `--url`.
///
/// # Errors
/// Fails when one is refused, or not counted within ten seconds.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let (database, connection) = tokio_postgres::connect(&options.need::<String>("database")?, NoTls).await?;
    tokio::spawn(connection);
    let counted = database.prepare("select occurrence_count from alert.alerts where id = $1").await?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let url: String = options.need("url")?;
    let (mut latency, mut answered) = (histogram(), histogram());
    for line in std::fs::read_to_string(options.need::<String>("alerts")?)?.lines() {
        let (id, key) = line.split_once(' ').context("a line is an id and a key")?;
        let id: Uuid = id.parse()?;
        let before: i64 = database.query_one(&counted, &[&id]).await?.get(0);
        let alert = json!({"dedup_key": key, "title": "DiskFull", "status": "firing", "severity": "critical"});
        let request = Request::post(&url).header("content-type", "application/json");
        let began = Instant::now();
        let answer = client.request(request.body(Full::new(Bytes::from(alert.to_string())))?).await?;
        anyhow::ensure!(answer.status().is_success(), "{} for {key}", answer.status());
        answer.into_body().collect().await?;
        answered.saturating_record(began.elapsed().as_micros() as u64);
        while database.query_one(&counted, &[&id]).await?.get::<_, i64>(0) == before {
            anyhow::ensure!(began.elapsed() < APPLIED_WITHIN, "{key} was not counted within {APPLIED_WITHIN:?}");
        }
        latency.saturating_record(began.elapsed().as_micros() as u64);
    }
    let mut told = latencies(&latency);
    told["answered"] = latencies(&answered);
    println!("{told}");
    Ok(())
}
