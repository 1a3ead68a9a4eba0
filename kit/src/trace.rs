//! Spans, named by the conventions of OpenTelemetry, when the settings ask for them. Without, a call
//! here is a look at an empty cell, and a caller's trace passes through as it came.
//!
//! Where work goes on in another process, or later, the trace goes with it as a W3C `traceparent`:
//! in gRPC metadata, in headers of NATS, in the journal's rows. What joins several traces, a batch,
//! is a trace of its own that links to them.

use std::{borrow::Cow, future::Future, sync::OnceLock};

pub use opentelemetry::trace::SpanKind as Kind;
use opentelemetry::{
    Context, KeyValue, Value,
    trace::{
        Link, Span as _, SpanBuilder, SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId,
        TraceState, TracerProvider as _,
    },
};
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::telemetry::TraceParent;

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

tokio::task_local! {
    /// The trace that this task works in.
    static CURRENT: String;
}

/// Traces from here on; the first call of a process decides.
pub fn start(provider: SdkTracerProvider) {
    // A second provider would be a second process.
    drop(PROVIDER.set(provider));
}

/// Whether anything is traced.
#[must_use]
pub fn on() -> bool {
    PROVIDER.get().is_some()
}

/// A step of a trace, or nothing. It ends when it is dropped.
#[derive(Debug, Default)]
pub struct Span(Option<Box<opentelemetry_sdk::trace::Span>>);

/// A step of the trace that `parent` names, or the first of a new one.
pub fn begin(service: &'static str, kind: Kind, parent: &str, name: impl FnOnce() -> String) -> Span {
    let Some(provider) = PROVIDER.get() else { return Span(None) };
    let parent = context(parent).map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
    let step = SpanBuilder::from_name(name()).with_kind(kind);
    Span(Some(Box::new(step.start_with_context(&provider.tracer(service), &parent))))
}

/// A step of the trace that `parent` names; nothing when it names none, or one that is not sampled.
pub fn child(service: &'static str, kind: Kind, parent: &str, name: impl FnOnce() -> String) -> Span {
    if on() && sampled(parent) { begin(service, kind, parent, name) } else { Span(None) }
}

/// Work that joins several traces, as one of its own that links to them; nothing when fewer than two
/// of them are sampled.
pub fn joined<'a>(
    service: &'static str,
    kind: Kind,
    traces: impl Iterator<Item = &'a str>,
    name: impl FnOnce() -> String,
) -> Span {
    let Some(provider) = PROVIDER.get() else { return Span(None) };
    let links: Vec<Link> = traces.filter_map(context).filter(SpanContext::is_sampled).map(Link::with_context).collect();
    let several = links.iter().any(|link| link.span_context.trace_id() != links[0].span_context.trace_id());
    if !several {
        return Span(None);
    }
    let step = SpanBuilder::from_name(name()).with_kind(kind).with_links(links);
    Span(Some(Box::new(step.start_with_context(&provider.tracer(service), &Context::new()))))
}

impl Span {
    /// Whether there is one.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Says something about the step.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// Names it anew, when more is known.
    pub fn rename(&mut self, name: impl FnOnce() -> String) {
        if let Some(span) = &mut self.0 {
            span.update_name(name());
        }
    }

    /// The step failed, for this reason.
    pub fn fail(&mut self, reason: impl Into<Cow<'static, str>>) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(reason));
        }
    }

    /// Links it to work that it is part of.
    pub fn link(&mut self, other: &Self) {
        if let (Some(span), Some(other)) = (&mut self.0, &other.0) {
            span.add_link(other.span_context().clone(), Vec::new());
        }
    }

    /// What goes on from this step carries this; nothing when there is no step.
    #[must_use]
    pub fn trace_parent(&self) -> Option<String> {
        let context = self.0.as_ref()?.span_context();
        let flags = context.trace_flags().to_u8();
        Some(format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id()))
    }
}

/// Works in a step, so that calls to other services are steps of it.
pub async fn within<F: Future>(span: &Span, work: F) -> F::Output {
    match span.trace_parent() {
        Some(parent) => CURRENT.scope(parent, work).await,
        None => work.await,
    }
}

/// Works in the trace that `parent` names.
pub async fn under<F: Future>(parent: &str, work: F) -> F::Output {
    if on() && sampled(parent) { CURRENT.scope(parent.to_owned(), work).await } else { work.await }
}

/// The trace that this task works in, or an empty text.
#[must_use]
pub fn current() -> String {
    if on() { CURRENT.try_with(String::clone).unwrap_or_default() } else { String::new() }
}

/// The id of the trace that a `traceparent` names, for logs.
#[must_use]
pub fn id(parent: &str) -> &str {
    parent.get(3..35).unwrap_or_default()
}

fn sampled(parent: &str) -> bool {
    TraceParent::parse(parent).is_some_and(|parent| parent.flags & 1 == 1)
}

fn context(parent: &str) -> Option<SpanContext> {
    let TraceParent { trace, step, flags } = TraceParent::parse(parent)?;
    let (trace, step) = (TraceId::from_bytes(trace.to_be_bytes()), SpanId::from_bytes(step.to_be_bytes()));
    Some(SpanContext::new(trace, step, TraceFlags::new(flags), true, TraceState::default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_sdk::trace::Sampler;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[tokio::test]
    async fn without_a_provider_nothing_is_made_and_with_one_the_parent_decides() {
        let none = begin("a", Kind::Server, PARENT, || unreachable!());
        assert!(!none.is_some() && none.trace_parent().is_none());
        assert_eq!(within(&none, async { current() }).await, "");
        let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOff));
        start(SdkTracerProvider::builder().with_sampler(sampler).build());
        let span = begin("a", Kind::Server, PARENT, || "step".to_owned());
        let carried = span.trace_parent().unwrap();
        assert_eq!(id(&carried), id(PARENT));
        assert!(carried.ends_with("-01") && carried != PARENT);
        assert_eq!(within(&span, async { current() }).await, carried);
        // What nobody asked for is not sampled here, and stays so on its way.
        let root = begin("a", Kind::Server, "", || "step".to_owned()).trace_parent().unwrap();
        assert!(root.ends_with("-00"), "{root}");
        assert!(!child("a", Kind::Client, &root, || unreachable!()).is_some());
        assert!(!child("a", Kind::Client, "garbage", || unreachable!()).is_some());
        let other = PARENT.replace("4bf9", "5bf9");
        assert!(!joined("a", Kind::Consumer, [PARENT, PARENT, &root].into_iter(), || unreachable!()).is_some());
        let batch = joined("a", Kind::Consumer, [PARENT, &other].into_iter(), || "batch".to_owned());
        assert!(![PARENT, &other].iter().any(|part| id(part) == id(&batch.trace_parent().unwrap())));
    }
}
