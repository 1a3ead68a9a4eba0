//! What the process counts, and the page that shows it in Prometheus' text form.
//!
//! Labels are names from code or settings, never ids, tenants or text of a caller: each value
//! costs a time series for ever.

use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

const REQUEST_SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const LATENESS_SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0];

/// A label's value, from code.
type Name = &'static str;

/// The instruments of the process, each behind a method that names its labels.
#[derive(Debug)]
pub struct Metrics {
    requests: Counter<u64>,
    request_duration: Histogram<f64>,
    relay_lag: Gauge<u64>,
    relay_published: Counter<u64>,
    consumer_lag: Gauge<u64>,
    consumer_applied: Counter<u64>,
    consumer_dropped: Counter<u64>,
    consumer_unknown: Counter<u64>,
    timer_lateness: Histogram<f64>,
    deliveries: Counter<u64>,
    dead_letters: Gauge<u64>,
    intake: Counter<u64>,
    intake_lost: Gauge<u64>,
    certificate_expires: Gauge<u64>,
}

struct Shared {
    registry: Registry,
    // Instruments count only while their provider lives.
    _provider: SdkMeterProvider,
    metrics: Metrics,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .with_namespace("itsm")
            .scope_info_enabled(false)
            .without_target_info()
            .without_counter_suffixes();
        #[expect(clippy::expect_used, reason = "a new registry holds nothing a collector could collide with")]
        let reader = exporter.build().expect("register the collector");
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        let metrics = Metrics::new(&provider.meter("itsm"));
        Shared { registry, _provider: provider, metrics }
    })
}

/// The instruments of this process.
#[must_use]
pub fn get() -> &'static Metrics {
    &shared().metrics
}

/// All that was counted so far, in Prometheus' text form.
#[must_use]
pub fn render() -> String {
    let mut page = String::new();
    if let Err(error) = TextEncoder::new().encode_utf8(&shared().registry.gather(), &mut page) {
        tracing::error!(%error, "the metrics page ends early");
    }
    page
}

impl Metrics {
    fn new(meter: &Meter) -> Self {
        let counter = |name, what| meter.u64_counter(name).with_description(what).build();
        let gauge = |name, what| meter.u64_gauge(name).with_description(what).build();
        let histogram = |name, what, bounds: &[f64]| {
            meter.f64_histogram(name).with_description(what).with_boundaries(bounds.to_vec()).build()
        };
        Self {
            requests: counter("requests_total", "Requests answered, by gRPC code"),
            request_duration: histogram("request_duration_seconds", "From request to answer", &REQUEST_SECONDS),
            relay_lag: gauge("relay_lag_events", "Events numbered but not yet acknowledged by the broker"),
            relay_published: counter("relay_published_total", "Events handed to the broker"),
            consumer_lag: gauge("consumer_lag_events", "Events of the source not yet applied"),
            consumer_applied: counter("consumer_applied_total", "Events applied"),
            consumer_dropped: counter("consumer_dropped_total", "Events not applied, by reason"),
            consumer_unknown: counter("consumer_unknown_total", "Events of a kind this build does not know"),
            timer_lateness: histogram("timer_lateness_seconds", "From due to fired", &LATENESS_SECONDS),
            deliveries: counter("deliveries_total", "Attempts to deliver a notification"),
            dead_letters: gauge("dead_letters", "Events parked until somebody replays them"),
            intake: counter("intake_total", "Alerts taken in, by outcome and format"),
            intake_lost: gauge("intake_lost", "Alerts acknowledged to a sender and then lost with the intake store"),
            certificate_expires: gauge("certificate_expires_at_seconds", "When a certificate ends, since 1970"),
        }
    }

    /// A request was answered with `code`; `method` is a declared one, or `unknown`.
    pub fn request(&self, service: Name, method: Name, code: Name, seconds: f64) {
        let labels = [KeyValue::new("service", service), KeyValue::new("method", method), KeyValue::new("code", code)];
        self.requests.add(1, &labels);
        self.request_duration.record(seconds, &labels[..2]);
    }

    /// How far the relay is behind: numbered minus acknowledged.
    pub fn relay_lag(&self, service: Name, events: u64) {
        self.relay_lag.record(events, &[KeyValue::new("service", service)]);
    }

    /// The relay handed that many events to the broker.
    pub fn relay_published(&self, service: Name, events: u64) {
        self.relay_published.add(events, &[KeyValue::new("service", service)]);
    }

    /// How far `service` is behind the feed of `source`.
    pub fn consumer_lag(&self, service: Name, source: Name, events: u64) {
        self.consumer_lag.record(events, &between(service, source));
    }

    /// That many events of `source` took effect.
    pub fn consumer_applied(&self, service: Name, source: Name, events: u64) {
        self.consumer_applied.add(events, &between(service, source));
    }

    /// An event of `source` had no effect, for `reason`.
    pub fn consumer_dropped(&self, service: Name, source: Name, reason: Name) {
        let [service, source] = between(service, source);
        self.consumer_dropped.add(1, &[service, source, KeyValue::new("reason", reason)]);
    }

    /// An event of `source` was of a kind this build does not know.
    pub fn consumer_unknown(&self, service: Name, source: Name) {
        self.consumer_unknown.add(1, &between(service, source));
    }

    /// A timer of `kind` fired that long after it was due.
    pub fn timer_lateness(&self, service: Name, kind: &str, seconds: f64) {
        let labels = [KeyValue::new("service", service), KeyValue::new("kind", kind.to_owned())];
        self.timer_lateness.record(seconds, &labels);
    }

    /// An attempt to deliver by `method` (mail, webhook) ended with `outcome`.
    pub fn delivery(&self, method: Name, outcome: Name) {
        let labels = [KeyValue::new("method", method), KeyValue::new("outcome", outcome)];
        self.deliveries.add(1, &labels);
    }

    /// That many events are parked at `service`.
    pub fn dead_letters(&self, service: Name, events: u64) {
        self.dead_letters.record(events, &[KeyValue::new("service", service)]);
    }

    /// An alert in `format` met `outcome` (accepted, refused, busy).
    pub fn intake(&self, outcome: Name, format: Name) {
        let labels = [KeyValue::new("outcome", outcome), KeyValue::new("format", format)];
        self.intake.add(1, &labels);
    }

    /// That many alerts were lost with a wiped intake store.
    pub fn intake_lost(&self, alerts: u64) {
        self.intake_lost.record(alerts, &[]);
    }

    /// The certificate in this role (ca, service, public) that `service` uses ends at `at`, in
    /// seconds since 1970.
    pub fn certificate_expires(&self, service: Name, role: Name, at: u64) {
        self.certificate_expires.record(at, &[KeyValue::new("service", service), KeyValue::new("role", role)]);
    }
}

fn between(service: Name, source: Name) -> [KeyValue; 2] {
    [KeyValue::new("service", service), KeyValue::new("source", source)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_names_labels_and_values_as_written() {
        let metrics = get();
        metrics.request("incident", "GetIncident", "OK", 0.003);
        metrics.request("incident", "GetIncident", "OK", 7.0);
        metrics.relay_lag("incident", 5);
        metrics.relay_lag("incident", 2);
        metrics.relay_published("incident", 4);
        metrics.consumer_lag("sla", "incident", 9);
        metrics.consumer_applied("sla", "incident", 6);
        metrics.consumer_dropped("sla", "incident", "stale");
        metrics.consumer_unknown("sla", "incident");
        metrics.timer_lateness("sla", "breach", 0.3);
        metrics.delivery("mail", "sent");
        metrics.dead_letters("sla", 1);
        metrics.intake("accepted", "alertmanager");
        metrics.intake_lost(3);
        metrics.certificate_expires("sla", "ca", 1_900_000_000);
        let page = render();
        for line in [
            "itsm_requests_total{code=\"OK\",method=\"GetIncident\",service=\"incident\"} 2",
            "itsm_request_duration_seconds_bucket{method=\"GetIncident\",service=\"incident\",le=\"0.005\"} 1",
            "itsm_relay_lag_events{service=\"incident\"} 2",
            "itsm_relay_published_total{service=\"incident\"} 4",
            "itsm_consumer_lag_events{service=\"sla\",source=\"incident\"} 9",
            "itsm_consumer_applied_total{service=\"sla\",source=\"incident\"} 6",
            "itsm_consumer_dropped_total{reason=\"stale\",service=\"sla\",source=\"incident\"} 1",
            "itsm_consumer_unknown_total{service=\"sla\",source=\"incident\"} 1",
            "itsm_timer_lateness_seconds_count{kind=\"breach\",service=\"sla\"} 1",
            "itsm_deliveries_total{method=\"mail\",outcome=\"sent\"} 1",
            "itsm_dead_letters{service=\"sla\"} 1",
            "itsm_intake_total{format=\"alertmanager\",outcome=\"accepted\"} 1",
            "itsm_intake_lost 3",
            "itsm_certificate_expires_at_seconds{role=\"ca\",service=\"sla\"} 1900000000",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not on the page:\n{page}");
        }
    }
}
