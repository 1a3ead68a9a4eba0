//! Spans to a collector by OTLP. They wait in a queue of bounded length and go out in batches by a
//! thread of their own; what does not fit is dropped and counted by the library's own warning.

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceContextExt as _, TraceId},
};
use opentelemetry_otlp::{
    SpanExporter, WithExportConfig as _, WithTonicConfig as _, tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    Resource,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingDecision, SamplingResult, SdkTracerProvider,
        ShouldSample,
    },
};

use super::Tracing;

const QUEUE: usize = 8_192;
const BATCH: usize = 512;
const EVERY: Duration = Duration::from_secs(1);
/// How long the collector may take for a batch, and at the end for the last one.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);
const LAST_WITHIN: Duration = Duration::from_secs(2);

/// Starts to trace, if the settings say where to.
///
/// # Errors
/// An address that is none.
pub fn start(settings: &Tracing, name: String) -> anyhow::Result<Option<SdkTracerProvider>> {
    if settings.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let mut exporter =
        SpanExporter::builder().with_tonic().with_endpoint(&settings.otlp_endpoint).with_timeout(EXPORT_WITHIN);
    if settings.otlp_endpoint.starts_with("https:") {
        exporter = exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
    }
    let exporter = exporter.build().context("`tracing.otlp_endpoint`")?;
    let queue = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(EVERY)
        .build();
    let process = Resource::builder().with_service_name(name).with_attributes([
        KeyValue::new("service.namespace", "itsm"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", kit::id::draw().to_string()),
    ]);
    let ratio = Sampler::TraceIdRatioBased(settings.sample_ratio);
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(OrLinked(ratio))))
        .with_resource(process.build())
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(queue).build())
        .build();
    kit::trace::start(provider.clone());
    Ok(Some(provider))
}

/// Sends what waits, for as long as is bearable at the end of a process.
pub async fn stop(provider: SdkTracerProvider) {
    let stopped = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_WITHIN)).await;
    if !matches!(stopped, Ok(Ok(()))) {
        tracing::warn!("the last spans were not sent");
    }
}

/// Keeps what links to something kept, so that a batch is there where its parts are; the rest by
/// ratio.
#[derive(Debug, Clone)]
struct OrLinked(Sampler);

impl ShouldSample for OrLinked {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self.0.should_sample(parent, trace, name, kind, attributes, links);
        if links.iter().any(|link| link.span_context.is_sampled()) {
            result.decision = SamplingDecision::RecordAndSample;
            result.trace_state =
                parent.map(|parent| parent.span().span_context().trace_state().clone()).unwrap_or_default();
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};

    #[test]
    fn a_batch_is_kept_where_one_of_its_parts_is() {
        let link = |flags| {
            let (trace, step) = (TraceId::from_bytes([1; 16]), SpanId::from_bytes([1; 8]));
            Link::with_context(SpanContext::new(trace, step, flags, true, TraceState::default()))
        };
        let decide = |ratio, links: &[Link]| {
            let sampler = OrLinked(Sampler::TraceIdRatioBased(ratio));
            sampler
                .should_sample(None, TraceId::from_bytes([255; 16]), "batch", &SpanKind::Consumer, &[], links)
                .decision
        };
        assert_eq!(decide(0.0, &[]), SamplingDecision::Drop);
        assert_eq!(decide(0.0, &[link(TraceFlags::default())]), SamplingDecision::Drop);
        assert_eq!(
            decide(0.0, &[link(TraceFlags::default()), link(TraceFlags::SAMPLED)]),
            SamplingDecision::RecordAndSample
        );
        assert_eq!(decide(1.0, &[]), SamplingDecision::RecordAndSample);
    }
}
