//! Latencies, instants and the generator's own processor time.

use std::time::{SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Nanoseconds since 1970.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// The longest latency that is told apart: ten minutes.
const LONGEST_US: u64 = 600_000_000;

/// An empty histogram of microseconds, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are possible")
}

/// What is told of latencies.
pub fn latencies(histogram: &Histogram<u64>) -> Value {
    json!({
        "count": histogram.len(),
        "p50_us": histogram.value_at_quantile(0.5),
        "p90_us": histogram.value_at_quantile(0.9),
        "p99_us": histogram.value_at_quantile(0.99),
        "max_us": histogram.max(),
    })
}

/// Processor seconds that this process used, in user and system mode.
pub fn own_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let Some((_, rest)) = text.rsplit_once(") ") else { return 0.0 };
    let fields: Vec<f64> = rest.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    // The kernel counts in hundredths of a second on every machine that this runs on.
    fields.iter().sum::<f64>() / 100.0
}

/// A figure rounded to hundredths.
pub fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
