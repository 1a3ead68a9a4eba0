//! Signs of life and distances, read when somebody asks for them: what is stuck cannot hide behind
//! the last number that it reported.

use std::{
    collections::VecDeque,
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// After how long without a sign a part counts as stuck. Parts give one each second, and what they
/// wait for, a statement or a call, ends within five.
pub const STUCK_AFTER: Duration = Duration::from_secs(10);
/// How finely a distance is dated, and how many dates are kept.
const GRAIN: Duration = Duration::from_millis(100);
const DATES: usize = 600;

static PULSES: Mutex<Vec<Weak<Pulse>>> = Mutex::new(Vec::new());
static LAGS: Mutex<Vec<Weak<Lag>>> = Mutex::new(Vec::new());
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn enlist<T>(list: &Mutex<Vec<Weak<T>>>, one: &Arc<T>) {
    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
    list.retain(|other| other.strong_count() > 0);
    list.push(Arc::downgrade(one));
}

fn alive<T>(list: &Mutex<Vec<Weak<T>>>) -> Vec<Arc<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
}

/// When a part last proved that it works.
#[derive(Debug)]
pub struct Pulse {
    /// The service.
    pub service: &'static str,
    /// The part, such as `relay` or `consumer:incident`.
    pub part: String,
    at_ms: AtomicU64,
}

impl Pulse {
    /// A part that begins now.
    #[must_use]
    pub fn new(service: &'static str, part: impl Into<String>) -> Arc<Self> {
        let pulse = Arc::new(Self { service, part: part.into(), at_ms: AtomicU64::new(0) });
        pulse.beat();
        enlist(&PULSES, &pulse);
        pulse
    }

    /// The part has just done all that proves that it works.
    pub fn beat(&self) {
        let now = u64::try_from(ORIGIN.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at_ms.store(now, Ordering::Relaxed);
    }

    /// How long ago that was.
    #[must_use]
    pub fn age(&self) -> Duration {
        ORIGIN.elapsed().saturating_sub(Duration::from_millis(self.at_ms.load(Ordering::Relaxed)))
    }
}

/// All parts of this process that give signs.
pub(crate) fn pulses() -> Vec<Arc<Pulse>> {
    alive(&PULSES)
}

/// How far a reader of a numbered order is behind its end, in numbers and in time: since when there
/// is something beyond the reader's position.
#[derive(Debug)]
pub struct Lag {
    /// The service that reads.
    pub service: &'static str,
    /// What it reads.
    pub source: &'static str,
    position: AtomicI64,
    head: AtomicI64,
    /// Ends of the order, with when each was first seen; those that were reached are gone.
    dates: Mutex<VecDeque<(i64, Instant)>>,
}

impl Lag {
    /// A reader that reads nothing yet, and shows nothing.
    #[must_use]
    pub fn new(service: &'static str, source: &'static str) -> Arc<Self> {
        let (position, head) = (AtomicI64::new(-1), AtomicI64::new(-1));
        let lag = Arc::new(Self { service, source, position, head, dates: Mutex::default() });
        enlist(&LAGS, &lag);
        lag
    }

    /// The reader is here, and the order ends there.
    pub fn note(&self, position: i64, head: i64) {
        let (was, end) = (self.position.swap(position, Ordering::Relaxed), self.head.swap(head, Ordering::Relaxed));
        if (was, end) == (position, head) {
            return;
        }
        let mut dates = self.dates.lock().unwrap_or_else(PoisonError::into_inner);
        if position < was {
            dates.clear();
        }
        while dates.front().is_some_and(|(end, _)| *end <= position) {
            dates.pop_front();
        }
        if head > position && dates.back().is_none_or(|(end, _)| *end < head) {
            let full = dates.len() >= DATES;
            match dates.back_mut() {
                Some((end, at)) if full || at.elapsed() < GRAIN => *end = head,
                Some(_) | None => dates.push_back((head, Instant::now())),
            }
        }
    }

    /// It does not read any more: another replica does, or nobody.
    pub fn rest(&self) {
        self.note(-1, -1);
    }

    /// How many numbers it is behind, and for how long; nothing while it does not read.
    #[must_use]
    pub fn behind(&self) -> Option<(u64, Duration)> {
        let (position, head) = (self.position.load(Ordering::Relaxed), self.head.load(Ordering::Relaxed));
        if position < 0 {
            return None;
        }
        let numbers = u64::try_from(head - position).unwrap_or(0);
        let dates = self.dates.lock().unwrap_or_else(PoisonError::into_inner);
        let since = dates.front().filter(|_| numbers > 0).map(|(_, at)| at.elapsed());
        Some((numbers, since.unwrap_or_default()))
    }
}

/// All readers of this process.
pub(crate) fn lags() -> Vec<Arc<Lag>> {
    alive(&LAGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_dated_by_the_first_number_not_reached() {
        let lag = Lag::new("sla", "incident");
        assert_eq!(lag.behind(), None);
        lag.note(5, 5);
        assert_eq!(lag.behind(), Some((0, Duration::ZERO)));
        lag.note(5, 7);
        std::thread::sleep(2 * GRAIN);
        lag.note(5, 9);
        let (numbers, since) = lag.behind().unwrap();
        assert!(numbers == 4 && since >= 2 * GRAIN, "{since:?}");
        // What came later is younger.
        lag.note(7, 9);
        let (numbers, since) = lag.behind().unwrap();
        assert!(numbers == 2 && since < 2 * GRAIN, "{since:?}");
        lag.note(9, 9);
        assert_eq!(lag.behind(), Some((0, Duration::ZERO)));
        lag.rest();
        assert_eq!(lag.behind(), None);
    }

    #[test]
    fn a_reader_that_stands_keeps_its_date_and_little_memory() {
        let lag = Lag::new("sla", "incident");
        for head in 1..10_000 {
            lag.note(0, head);
        }
        assert!(lag.dates.lock().unwrap().len() <= DATES);
        assert_eq!(lag.behind().unwrap().0, 9_999);
    }

    #[test]
    fn a_pulse_ages_until_it_beats() {
        let pulse = Pulse::new("sla", "sweep");
        std::thread::sleep(Duration::from_millis(30));
        assert!(pulse.age() >= Duration::from_millis(20));
        pulse.beat();
        assert!(pulse.age() < Duration::from_millis(20));
        assert!(pulses().iter().any(|other| Arc::ptr_eq(other, &pulse)));
    }
}
