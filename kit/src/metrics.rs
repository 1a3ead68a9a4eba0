//! What the process counts, and the page that shows it in Prometheus' text form.
//!
//! Labels are names from code or settings, never ids, tenants or text of a caller: each value
//! costs a time series for ever. `kit/golden/metrics.txt` lists all names; what watches an
//! installation may rely on them.

use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider, ObservableGauge};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

use crate::vital;

const REQUEST_SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const WAY_SECONDS: [f64; 14] = [0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0, 600.0];
const LATENESS_SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0];

/// A label's value, from code.
type Name = &'static str;

/// The instruments of the process, each behind a method that names its labels.
#[derive(Debug)]
pub struct Metrics {
    requests: Counter<u64>,
    request_duration: Histogram<f64>,
    relay_published: Counter<u64>,
    consumer_applied: Counter<u64>,
    consumer_dropped: Counter<u64>,
    timer_lateness: Histogram<f64>,
    timer_overdue: Gauge<f64>,
    outbox: Gauge<u64>,
    outbox_age: Gauge<f64>,
    pool: Gauge<u64>,
    deliveries: Counter<u64>,
    alert_to_incident: Histogram<f64>,
    event_to_delivery: Histogram<f64>,
    dead_letters: Gauge<u64>,
    intake: Counter<u64>,
    intake_lost: Counter<u64>,
    certificate_expires: Gauge<u64>,
    _seen_when_asked: Vec<ObservableGauge<f64>>,
}

/// What a service's database said of its event path.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Backlog {
    /// Events that wait to be numbered.
    pub outbox: u64,
    /// How old the oldest of them is.
    pub outbox_age_seconds: f64,
    /// Events that are set aside.
    pub dead_letters: u64,
    /// How long the timer that is due first has been due.
    pub timer_overdue_seconds: f64,
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
        let seconds = |name, what| meter.f64_gauge(name).with_description(what).build();
        let histogram = |name, what, bounds: &[f64]| {
            meter.f64_histogram(name).with_description(what).with_boundaries(bounds.to_vec()).build()
        };
        Self {
            requests: counter("requests_total", "Requests answered, by gRPC code"),
            request_duration: histogram("request_duration_seconds", "From request to answer", &REQUEST_SECONDS),
            relay_published: counter("relay_published_total", "Events handed to the broker"),
            consumer_applied: counter("consumer_applied_total", "Events applied"),
            consumer_dropped: counter("consumer_dropped_total", "Events not applied, by reason"),
            timer_lateness: histogram("timer_lateness_seconds", "From due to fired", &LATENESS_SECONDS),
            timer_overdue: seconds(
                "timer_overdue_seconds",
                "For how long the first of the timers not yet fired is due",
            ),
            outbox: gauge("outbox_events", "Events written but not yet numbered"),
            outbox_age: seconds("outbox_oldest_seconds", "Age of the oldest event not yet numbered"),
            pool: gauge("pool_connections", "Database connections, by pool and by what they do"),
            deliveries: counter("deliveries_total", "Attempts to deliver a notification, by method and outcome"),
            alert_to_incident: histogram(
                "alert_to_incident_seconds",
                "From an alert's raising to the opening of its incident",
                &WAY_SECONDS,
            ),
            event_to_delivery: histogram(
                "event_to_delivery_seconds",
                "From an event to the receiver's acceptance of the message about it",
                &WAY_SECONDS,
            ),
            dead_letters: gauge("dead_letters", "Events set aside until somebody replays them"),
            intake: counter("intake_total", "Requests to the intake, by outcome, reason and format"),
            intake_lost: counter(
                "intake_lost_total",
                "Messages of the intake that were acknowledged and went with its store, at most",
            ),
            certificate_expires: gauge("certificate_expires_at_seconds", "When a certificate ends, since 1970"),
            _seen_when_asked: seen_when_asked(meter),
        }
    }

    /// A request was answered with `code`; `method` is a declared one, or `unknown`.
    pub fn request(&self, service: Name, method: Name, code: Name, seconds: f64) {
        let labels = [KeyValue::new("service", service), KeyValue::new("method", method), KeyValue::new("code", code)];
        self.requests.add(1, &labels);
        self.request_duration.record(seconds, &labels[..2]);
    }

    /// The relay handed that many events to the broker.
    pub fn relay_published(&self, service: Name, events: u64) {
        self.relay_published.add(events, &[KeyValue::new("service", service)]);
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

    /// An incident was opened that long after its alert was raised.
    pub fn alert_to_incident(&self, seconds: f64) {
        self.alert_to_incident.record(seconds, &[]);
    }

    /// A message about `event` was accepted by its receiver that long after the event.
    pub fn event_to_delivery(&self, method: Name, event: Name, seconds: f64) {
        let labels = [KeyValue::new("method", method), KeyValue::new("event", event)];
        self.event_to_delivery.record(seconds, &labels);
    }

    /// What waits in the database of a service.
    pub fn backlog(&self, service: Name, backlog: Backlog) {
        let labels = [KeyValue::new("service", service)];
        self.outbox.record(backlog.outbox, &labels);
        self.outbox_age.record(backlog.outbox_age_seconds, &labels);
        self.dead_letters.record(backlog.dead_letters, &labels);
        self.timer_overdue.record(backlog.timer_overdue_seconds, &labels);
    }

    /// How many connections a pool has, and how many of them are idle, of how many at most.
    pub fn pool(&self, service: Name, pool: Name, [used, idle, at_most]: [u64; 3]) {
        for (state, connections) in [("used", used), ("idle", idle), ("at_most", at_most)] {
            let labels = [("service", service), ("pool", pool), ("state", state)];
            self.pool.record(connections, &labels.map(|(name, value)| KeyValue::new(name, value)));
        }
    }

    /// A request in `format` met `outcome` (accepted, refused, busy) for `reason`, one of the stable
    /// reasons of the code.
    pub fn intake(&self, outcome: Name, reason: &str, format: Name) {
        let reason = KeyValue::new("reason", reason.to_owned());
        self.intake.add(1, &[KeyValue::new("outcome", outcome), reason, KeyValue::new("format", format)]);
    }

    /// Notes that the intake stream came back without messages that were not yet taken.
    pub fn intake_lost(&self, messages: u64) {
        self.intake_lost.add(messages, &[]);
    }

    /// The certificate in this role (ca, service, public) that `service` uses ends at `at`, in
    /// seconds since 1970.
    pub fn certificate_expires(&self, service: Name, role: Name, at: u64) {
        self.certificate_expires.record(at, &[KeyValue::new("service", service), KeyValue::new("role", role)]);
    }
}

/// What is read when the page is asked for, so that it is true even of what is stuck.
fn seen_when_asked(meter: &Meter) -> Vec<ObservableGauge<f64>> {
    let gauge = |name, what| meter.f64_observable_gauge(name).with_description(what);
    let part = |service, part: String| [KeyValue::new("service", service), KeyValue::new("part", part)];
    #[expect(clippy::cast_precision_loss, reason = "a distance of 2^53 events is far enough")]
    let lag = |name, what, relay: bool, seconds: bool| {
        let seen = gauge(name, what).with_callback(move |seen| {
            for lag in vital::lags() {
                let Some((events, since)) = lag.behind().filter(|_| (lag.source == RELAY) == relay) else { continue };
                let value = if seconds { since.as_secs_f64() } else { events as f64 };
                let labels = between(lag.service, lag.source);
                seen.observe(value, if relay { &labels[..1] } else { &labels });
            }
        });
        seen.build()
    };
    vec![
        lag("relay_lag_events", "Events numbered but not yet acknowledged by the broker", true, false),
        lag("relay_lag_seconds", "For how long the first event not yet acknowledged has been numbered", true, true),
        lag("consumer_lag_events", "Events of the source not yet applied", false, false),
        lag("consumer_lag_seconds", "For how long the first event not yet applied has been known", false, true),
        gauge("alive_seconds", "Since a part last proved that it works")
            .with_callback(move |seen| {
                for pulse in vital::pulses() {
                    seen.observe(pulse.age().as_secs_f64(), &part(pulse.service, pulse.part.clone()));
                }
            })
            .build(),
        gauge("build_info", "Always 1; the version is the label")
            .with_callback(|seen| seen.observe(1.0, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]))
            .build(),
    ]
}

/// The source of a relay's distance: its own feed.
pub const RELAY: Name = "relay";

fn between(service: Name, source: Name) -> [KeyValue; 2] {
    [KeyValue::new("service", service), KeyValue::new("source", source)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    const LISTED: &str = include_str!("../golden/metrics.txt");

    /// Everything that can be counted, counted once.
    fn count_everything() -> Vec<std::sync::Arc<vital::Lag>> {
        let metrics = get();
        metrics.request("incident", "GetIncident", "OK", 0.003);
        metrics.request("incident", "GetIncident", "OK", 7.0);
        metrics.relay_published("incident", 4);
        metrics.consumer_applied("sla", "incident", 6);
        metrics.consumer_dropped("sla", "incident", "stale");
        metrics.timer_lateness("sla", "breach", 0.3);
        metrics.delivery("mail", "sent");
        metrics.alert_to_incident(0.3);
        metrics.event_to_delivery("mail", "incident.opened", 0.3);
        metrics.pool("sla", "calls", [1, 2, 8]);
        metrics.backlog(
            "sla",
            Backlog { outbox: 2, outbox_age_seconds: 0.5, dead_letters: 1, timer_overdue_seconds: 0.25 },
        );
        metrics.intake("accepted", "", "alertmanager");
        metrics.intake_lost(3);
        metrics.certificate_expires("sla", "ca", 1_900_000_000);
        let lags = vec![vital::Lag::new("incident", RELAY), vital::Lag::new("sla", "incident")];
        lags[0].note(3, 5);
        lags[1].note(0, 9);
        lags
    }

    #[test]
    fn the_page_shows_names_labels_and_values_as_written() {
        let _lags = count_everything();
        let _pulse = vital::Pulse::new("sla", "sweep");
        let page = render();
        for line in [
            "itsm_requests_total{code=\"OK\",method=\"GetIncident\",service=\"incident\"} 2",
            "itsm_request_duration_seconds_bucket{method=\"GetIncident\",service=\"incident\",le=\"0.005\"} 1",
            "itsm_relay_lag_events{service=\"incident\"} 2",
            "itsm_relay_published_total{service=\"incident\"} 4",
            "itsm_consumer_lag_events{service=\"sla\",source=\"incident\"} 9",
            "itsm_consumer_applied_total{service=\"sla\",source=\"incident\"} 6",
            "itsm_consumer_dropped_total{reason=\"stale\",service=\"sla\",source=\"incident\"} 1",
            "itsm_timer_lateness_seconds_count{kind=\"breach\",service=\"sla\"} 1",
            "itsm_timer_overdue_seconds{service=\"sla\"} 0.25",
            "itsm_outbox_events{service=\"sla\"} 2",
            "itsm_outbox_oldest_seconds{service=\"sla\"} 0.5",
            "itsm_pool_connections{pool=\"calls\",service=\"sla\",state=\"idle\"} 2",
            "itsm_deliveries_total{method=\"mail\",outcome=\"sent\"} 1",
            "itsm_dead_letters{service=\"sla\"} 1",
            "itsm_intake_total{format=\"alertmanager\",outcome=\"accepted\",reason=\"\"} 1",
            "itsm_intake_lost_total 3",
            "itsm_certificate_expires_at_seconds{role=\"ca\",service=\"sla\"} 1900000000",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not on the page:\n{page}");
        }
    }

    /// Dashboards and alarms stand on these names: a change here is a change for who operates it.
    #[test]
    fn the_names_are_those_of_the_list() {
        let _lags = count_everything();
        let _pulse = vital::Pulse::new("sla", "sweep");
        let page = render();
        let mut help = BTreeMap::new();
        let mut found = BTreeSet::new();
        for line in page.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words.as_slice() {
                ["#", "HELP", name, text] => drop(help.insert(*name, *text)),
                ["#", "TYPE", name, kind] => {
                    let sample = page.lines().find(|line| line.starts_with(name)).unwrap();
                    let labels = sample.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
                    let labels = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0));
                    let labels: Vec<&str> = labels.filter(|label| *label != "le").collect();
                    found.insert(format!("{name} | {kind} | {} | {}", labels.join(" "), help[name]));
                    let unit = ["_total", "_seconds", "_events", "_connections", "_letters", "_info"];
                    assert!(unit.iter().any(|unit| name.ends_with(unit)), "{name} says no unit");
                    assert!(!name.ends_with("_total") || *kind == "counter", "{name} is a {kind}");
                }
                _ => {}
            }
        }
        let found = found.into_iter().collect::<Vec<_>>().join("\n");
        assert_eq!(found, LISTED.trim(), "kit/golden/metrics.txt is not what the page shows; judge it, then take it");
    }
}
