//! The other services, over gRPC: each call carries a service token for its callee.

use std::{collections::HashMap, io, str::FromStr, sync::Arc, time::Duration};

use http::{Uri, uri::PathAndQuery};
use hyper_util::rt::TokioIo;
use prost::Message;
use proto::common::v1::{
    FeedRequest, FeedResponse, LookupRequest, LookupResponse, PositionRequest, PositionResponse, SnapshotEntry,
    SnapshotRequest, SnapshotResponse,
};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::{
    Code, Request, Status,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

use crate::{
    access,
    clock::Clock,
    id::TenantId,
    problem::Problem,
    tls::Certificates,
    token::Signer,
    trace::{self, Kind},
};

/// How long a call between services may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// What one answer may weigh.
const ANSWER_AT_MOST: usize = 16 * 1024 * 1024;

/// The other services.
#[derive(Debug, Clone)]
pub struct Peers {
    signer: Arc<Signer>,
    clock: Arc<ClockHandle>,
    channels: Arc<HashMap<String, Channel>>,
}

struct ClockHandle(Arc<dyn Clock>);

impl std::fmt::Debug for ClockHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// Why there is no way to a service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address is none.
    #[error("`{0}` is no address: {1}")]
    Address(String, tonic::transport::Error),
    /// It is only there for who has a certificate.
    #[error("`{0}` needs certificates")]
    NoCertificates(String),
}

impl Peers {
    /// Prepares a channel to each address (`unix:/path`, `http://host:port`, or, with certificates,
    /// `https://host:port`); connections are made when they are needed.
    ///
    /// # Errors
    /// Fails for an address that is none.
    pub fn new(
        signer: Signer,
        clock: Arc<dyn Clock>,
        addresses: &HashMap<String, String>,
        certificates: Option<&Arc<Certificates>>,
    ) -> Result<Self, Error> {
        let mut channels = HashMap::new();
        for (service, address) in addresses {
            let endpoint = |address: &str| match Endpoint::from_shared(address.to_owned()) {
                Ok(endpoint) => Ok(endpoint.connect_timeout(Duration::from_secs(2)).timeout(DEADLINE)),
                Err(error) => Err(Error::Address(address.to_owned(), error)),
            };
            let channel = match (address.strip_prefix("https://"), certificates) {
                (None, _) => endpoint(address)?.connect_lazy(),
                (Some(_), None) => return Err(Error::NoCertificates(address.clone())),
                // Tonic would do TLS of its own for `https`, with what was read at the start.
                (Some(place), Some(certificates)) => {
                    endpoint(&format!("http://{place}"))?.connect_with_connector_lazy(by_tls(service, certificates))
                }
            };
            channels.insert(service.clone(), channel);
        }
        Ok(Self { signer: Arc::new(signer), clock: Arc::new(ClockHandle(clock)), channels: Arc::new(channels) })
    }

    /// The channel to a service, for who forwards bytes.
    #[must_use]
    pub fn channel(&self, service: &str) -> Option<Channel> {
        self.channels.get(service).cloned()
    }

    /// Calls `Internal/<method>` of a service.
    ///
    /// # Errors
    /// The status that the service answered, or UNAVAILABLE.
    pub async fn call<Q, A>(&self, service: &str, method: &str, message: Q) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let channel = self
            .channel(service)
            .ok_or_else(|| crate::access::status(Code::Unavailable, "UNKNOWN_SERVICE", service))?;
        let path = PathAndQuery::from_str(&format!("/itsm.{service}.v1.Internal/{method}"))
            .map_err(|error| Status::from_error(Box::new(error)))?;
        let mut request = Request::new(message);
        let token = self.signer.service_token(service, self.clock.0.now());
        if let Ok(value) = MetadataValue::try_from(format!("Bearer {token}")) {
            request.metadata_mut().insert("authorization", value);
        }
        let mut step =
            trace::child("kit", Kind::Client, &trace::current(), || path.path().trim_start_matches('/').to_owned());
        access::name_rpc(&mut step, path.path());
        if let Some(carried) = step.trace_parent().and_then(|carried| carried.parse().ok()) {
            request.metadata_mut().insert("traceparent", carried);
        }
        let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(ANSWER_AT_MOST);
        client.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        let answer = client.unary(request, path, tonic_prost::ProstCodec::default()).await;
        access::note_code(&mut step, answer.as_ref().map_or_else(Status::code, |_| Code::Ok), false);
        Ok(answer?.into_inner())
    }

    /// The events of a service after a position.
    ///
    /// # Errors
    /// As [`Peers::call`].
    pub async fn feed(&self, service: &str, after_position: i64, limit: i32) -> Result<FeedResponse, Status> {
        self.call(service, "Feed", FeedRequest { after_position, limit }).await
    }

    /// Where a service's feed ends.
    ///
    /// # Errors
    /// As [`Peers::call`].
    pub async fn position(&self, service: &str) -> Result<PositionResponse, Status> {
        self.call(service, "Position", PositionRequest { settled: false }).await
    }

    /// A position of its feed that covers all that it was doing when asked.
    ///
    /// # Errors
    /// As the call fails, or while something there stays unfinished.
    pub async fn settled_position(&self, service: &str) -> Result<PositionResponse, Status> {
        self.call(service, "Position", PositionRequest { settled: true }).await
    }

    /// A page of a service's records of one tenant, or of its tenants.
    ///
    /// # Errors
    /// As [`Peers::call`].
    pub async fn snapshot(
        &self,
        service: &str,
        tenant: Option<TenantId>,
        page_token: String,
    ) -> Result<SnapshotResponse, Status> {
        let tenant_id = tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
        self.call(service, "Snapshot", SnapshotRequest { tenant_id, page_token }).await
    }

    /// One record of a service as it is now.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when the owner is away.
    pub async fn lookup(
        &self,
        service: &'static str,
        tenant: TenantId,
        record: Uuid,
    ) -> Result<Option<SnapshotEntry>, Problem> {
        let request = LookupRequest { tenant_id: tenant.to_string(), record_id: record.to_string() };
        match self.call::<_, LookupResponse>(service, "Lookup", request).await {
            Ok(response) => Ok(response.entry),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(Problem::Unavailable(service, Some(status.into()))),
        }
    }
}

/// Makes connections to a service with the certificates of the moment.
fn by_tls(
    service: &str,
    certificates: &Arc<Certificates>,
) -> impl tower::Service<Uri, Response = TokioIo<TlsStream<TcpStream>>, Error = io::Error, Future: Send> + Send + use<>
{
    let (service, certificates) = (service.to_owned(), Arc::clone(certificates));
    tower::service_fn(move |address: Uri| {
        let (service, certificates) = (service.clone(), Arc::clone(&certificates));
        async move { certificates.connect(&service, &address).await }
    })
}
