//! A collector in the test's own process: takes spans by OTLP as any other does, and keeps them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// A span, as tests ask for it.
#[derive(Debug, Clone)]
pub struct Step {
    pub trace: String,
    pub id: String,
    pub parent: String,
    /// The scope, which is the service.
    pub service: String,
    pub kind: &'static str,
    pub name: String,
    pub attributes: BTreeMap<String, String>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <- {} {} {} {}", self.id, self.parent, self.service, self.kind, self.name)
    }
}

/// All that came.
pub struct Everything {
    pub traces: BTreeSet<String>,
    pub text: String,
}

#[derive(Clone, Default)]
struct Taker(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Taker {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

pub struct Collector {
    pub endpoint: String,
    taken: Taker,
    _runtime: Runtime,
}

impl Collector {
    pub fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let taken = Taker::default();
        let server = Server::builder().add_service(TraceServiceServer::new(taken.clone()));
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { endpoint, taken, _runtime: runtime }
    }

    /// The steps of one trace.
    pub fn trace(&self, id: &str) -> Vec<Step> {
        self.steps().into_iter().filter(|step| step.trace == id).collect()
    }

    pub fn everything(&self) -> Everything {
        let traces = self.steps().into_iter().map(|step| step.trace).collect();
        Everything { traces, text: format!("{:?}", self.taken.0.lock().unwrap()) }
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for request in self.taken.0.lock().unwrap().iter() {
            for scope in request.resource_spans.iter().flat_map(|resource| &resource.scope_spans) {
                let service = scope.scope.as_ref().map_or_else(String::new, |scope| scope.name.clone());
                steps.extend(scope.spans.iter().map(|span| {
                    Step {
                        trace: hex(&span.trace_id),
                        id: hex(&span.span_id),
                        parent: hex(&span.parent_span_id),
                        service: service.clone(),
                        kind: span.kind().as_str_name().trim_start_matches("SPAN_KIND_"),
                        name: span.name.clone(),
                        attributes: span
                            .attributes
                            .iter()
                            .map(|attribute| {
                                let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
                                (attribute.key.clone(), value.map_or_else(String::new, text))
                            })
                            .collect(),
                    }
                }));
            }
        }
        steps
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
