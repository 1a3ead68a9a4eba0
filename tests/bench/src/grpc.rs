//! Calls in a closed loop, so many in flight: to the product's own sockets or its public port, and to
//! the echo. The messages are the few fields of the contract that are used here; their numbers are
//! kept for ever by the contract's own check.

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use http::uri::PathAndQuery;
use prost::Message;
use serde_json::json;
use tonic::{
    Code, Request,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use uuid::Uuid;

use crate::{
    echo::Note,
    options::Options,
    stats::{histogram, latencies, own_cpu, rounded},
    token,
};

const DESCRIPTION: &str = "Filesystem /var is 97% full on host db-1 since 3 minutes";
/// `Impact` and `Urgency` of the contract: moderate, medium.
const MIDDLE: i32 = 3;

#[derive(Clone, PartialEq, Message)]
struct Incident {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(int64, tag = "2")]
    revision: i64,
    #[prost(string, tag = "3")]
    number: String,
    #[prost(string, tag = "4")]
    title: String,
    #[prost(string, tag = "5")]
    description: String,
    #[prost(int32, tag = "8")]
    impact: i32,
    #[prost(int32, tag = "9")]
    urgency: i32,
}

#[derive(Clone, PartialEq, Message)]
struct CreateIncident {
    #[prost(message, optional, tag = "1")]
    incident: Option<Incident>,
    #[prost(string, tag = "15")]
    request_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct AcknowledgeIncident {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "15")]
    request_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ListIncidents {
    #[prost(int32, tag = "1")]
    page_size: i32,
    #[prost(string, tag = "3")]
    filter: String,
}

#[derive(Clone, PartialEq, Message)]
struct Incidents {
    #[prost(message, repeated, tag = "1")]
    incidents: Vec<Incident>,
}

/// What is called.
enum Work {
    /// A new incident each time.
    Create,
    /// A new incident without a title, which is refused before any database work.
    Refuse,
    /// Each of these incidents once.
    Acknowledge(Vec<String>),
    /// The first page by this filter; it must not be empty.
    List(String),
    /// The reference.
    Echo,
}

impl Work {
    fn read(options: &Options) -> anyhow::Result<Self> {
        let call: String = options.need("call")?;
        Ok(match call.as_str() {
            "create" => Self::Create,
            "refuse" => Self::Refuse,
            "acknowledge" => {
                let ids = std::fs::read_to_string(options.need::<String>("ids")?)?;
                Self::Acknowledge(ids.split_whitespace().map(str::to_owned).collect())
            }
            "list" => Self::List(options.need("filter")?),
            "echo" => Self::Echo,
            other => anyhow::bail!("--call {other}: create, refuse, acknowledge, list or echo"),
        })
    }

    fn path(&self) -> &'static str {
        match self {
            Self::Create | Self::Refuse => "/itsm.incident.v1.IncidentService/CreateIncident",
            Self::Acknowledge(_) => "/itsm.incident.v1.IncidentService/AcknowledgeIncident",
            Self::List(_) => "/itsm.incident.v1.IncidentService/ListIncidents",
            Self::Echo => "/bench.Echo/GiveBack",
        }
    }
}

struct Plan {
    work: Work,
    path: PathAndQuery,
    authorization: Option<MetadataValue<Ascii>>,
    /// At most so many calls.
    count: usize,
    next: AtomicUsize,
    end: Instant,
}

fn create(title: &str) -> CreateIncident {
    let incident = Incident {
        title: title.to_owned(),
        description: DESCRIPTION.to_owned(),
        impact: MIDDLE,
        urgency: MIDDLE,
        ..Incident::default()
    };
    CreateIncident { incident: Some(incident), request_id: Uuid::now_v7().to_string() }
}

impl Plan {
    async fn call<Q, A>(&self, client: &mut Grpc<Channel>, message: Q) -> Result<A, tonic::Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        client.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        let answer = client.unary(request, self.path.clone(), ProstCodec::<Q, A>::default()).await?;
        Ok(answer.into_inner())
    }

    /// One call, judged: an answer that is not what it must be is a failure of the run.
    async fn one(&self, client: &mut Grpc<Channel>, number: usize) -> anyhow::Result<()> {
        match &self.work {
            Work::Create => {
                let made: Incident = self.call(client, create("disk full on db-1")).await?;
                anyhow::ensure!(!made.id.is_empty() && made.revision == 1, "not a new incident: {made:?}");
            }
            Work::Refuse => match self.call::<_, Incident>(client, create("")).await {
                Err(status) if status.code() == Code::InvalidArgument => {}
                other => anyhow::bail!("not refused: {other:?}"),
            },
            Work::Acknowledge(ids) => {
                let message = AcknowledgeIncident { id: ids[number].clone(), request_id: Uuid::now_v7().to_string() };
                let seen: Incident = self.call(client, message).await?;
                anyhow::ensure!(seen.revision > 1, "not acknowledged: {seen:?}");
            }
            Work::List(filter) => {
                let message = ListIncidents { page_size: 50, filter: filter.clone() };
                let page: Incidents = self.call(client, message).await?;
                anyhow::ensure!(page.incidents.len() == 50, "a page of {}", page.incidents.len());
            }
            Work::Echo => {
                let (title, text) = ("disk full on db-1".to_owned(), DESCRIPTION.to_owned());
                let note = Note { title, text, key: Uuid::now_v7().to_string() };
                let back: Note = self.call(client, note.clone()).await?;
                anyhow::ensure!(back == note, "another note came back");
            }
        }
        Ok(())
    }

    async fn one_after_the_other(&self, mut client: Grpc<Channel>) -> anyhow::Result<Histogram<u64>> {
        let mut latency = histogram();
        while Instant::now() < self.end {
            let number = self.next.fetch_add(1, Relaxed);
            if number >= self.count {
                break;
            }
            let began = Instant::now();
            self.one(&mut client, number).await?;
            latency.saturating_record(began.elapsed().as_micros() as u64);
        }
        Ok(latency)
    }
}

async fn channels(options: &Options) -> anyhow::Result<Vec<Channel>> {
    let address: String = options.need("address")?;
    let count: usize = options.or("channels", 4)?;
    let mut channels = Vec::with_capacity(count);
    for _ in 0..count {
        channels.push(Endpoint::from_shared(address.clone())?.tcp_nodelay(true).connect().await?);
    }
    Ok(channels)
}

/// Calls `--address` (`unix:/path` or `http://host:port`) and tells how it went. Who calls: `--key`, an
/// API key, or else the inner token of `--keys`.
///
/// # Errors
/// Fails at the first answer that is not what it must be.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let work = Work::read(options)?;
    let credential = match (&work, options.find::<String>("key")?) {
        (Work::Echo, _) => None,
        (_, Some(key)) => Some(key),
        (_, None) => Some(token::inner(options)?),
    };
    let authorization = credential.map(|text| MetadataValue::from_str(&format!("Bearer {text}"))).transpose()?;
    let known = if let Work::Acknowledge(ids) = &work { ids.len() } else { usize::MAX };
    let channels = channels(options).await?;
    let (began, cpu) = (Instant::now(), own_cpu());
    let plan = Arc::new(Plan {
        path: PathAndQuery::from_static(work.path()),
        work,
        authorization,
        count: options.or("count", usize::MAX)?.min(known),
        next: AtomicUsize::new(0),
        end: began + Duration::from_secs_f64(options.or("seconds", 5.0)?),
    });
    let flight: usize = options.or("flight", 16)?;
    let loops = (0..flight).map(|number| {
        let (plan, client) = (Arc::clone(&plan), Grpc::new(channels[number % channels.len()].clone()));
        tokio::spawn(async move { plan.one_after_the_other(client).await })
    });
    let mut latency = histogram();
    for one in loops.collect::<Vec<_>>() {
        latency.add(one.await??)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let mut told = latencies(&latency);
    told["seconds"] = json!(rounded(seconds));
    told["calls_per_second"] = json!(rounded(latency.len() as f64 / seconds));
    told["generator_cpu_s"] = json!(rounded(own_cpu() - cpu));
    println!("{told}");
    Ok(())
}
