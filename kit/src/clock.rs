//! Domain time. A use case asks the clock once and hands `now` on; SQL binds it.
//!
//! In production the clock follows Postgres, so that replicas agree and a jump of one host's wall
//! clock fires nothing; in stories it is driven by hand.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use tokio::sync::watch;

/// Where `now` comes from.
pub trait Clock: Send + Sync + 'static {
    /// The instant, to the microsecond that Postgres keeps.
    fn now(&self) -> DateTime<Utc>;

    /// Whether the time may be trusted to decide what is due.
    fn trusted(&self) -> bool;

    /// Waits until the instant has come.
    fn sleep_until(&self, instant: DateTime<Utc>) -> BoxFuture<'_, ()>;
}

fn truncate(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.timestamp_micros()).unwrap_or(at)
}

/// The production clock: monotonic, held to the database's time by samples.
#[derive(Debug)]
pub struct DatabaseClock {
    origin: Instant,
    /// Microseconds since the epoch at `origin`, by the latest sample.
    base: AtomicI64,
    latest: AtomicI64,
    sampled: AtomicBool,
}

impl Default for DatabaseClock {
    fn default() -> Self {
        #[expect(clippy::disallowed_methods, reason = "where domain time begins, until the first sample")]
        let base = Utc::now().timestamp_micros();
        Self {
            origin: Instant::now(),
            base: AtomicI64::new(base),
            latest: AtomicI64::new(0),
            sampled: AtomicBool::new(false),
        }
    }
}

impl DatabaseClock {
    /// Takes a sample: the database said `at`, half way through an exchange that began at `asked`.
    /// Returns the correction that it made.
    pub fn sample(&self, at: DateTime<Utc>, asked: Instant) -> TimeDelta {
        let middle = asked.duration_since(self.origin) + asked.elapsed() / 2;
        let base = at.timestamp_micros() - i64::try_from(middle.as_micros()).unwrap_or(i64::MAX);
        let before = self.base.swap(base, Ordering::Relaxed);
        let first = !self.sampled.swap(true, Ordering::Relaxed);
        let correction = TimeDelta::microseconds(base - before);
        if correction.abs() > TimeDelta::seconds(1) {
            tracing::warn!(
                correction_ms = correction.num_milliseconds(),
                first,
                "the clock was corrected to the database's"
            );
        }
        correction
    }

    /// Samples the database's time now.
    ///
    /// # Errors
    /// Fails when the database cannot be asked.
    pub async fn synchronise(&self, pool: &sqlx::PgPool) -> Result<(), sqlx::Error> {
        let mut connection = pool.acquire().await?;
        let asked = Instant::now();
        let at: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *connection).await?;
        self.sample(at, asked);
        Ok(())
    }
}

impl Clock for DatabaseClock {
    fn now(&self) -> DateTime<Utc> {
        let elapsed = i64::try_from(self.origin.elapsed().as_micros()).unwrap_or(i64::MAX);
        let now = self.base.load(Ordering::Relaxed) + elapsed;
        let latest = self.latest.fetch_max(now, Ordering::Relaxed).max(now);
        DateTime::from_timestamp_micros(latest).unwrap_or_default()
    }

    fn trusted(&self) -> bool {
        self.sampled.load(Ordering::Relaxed)
    }

    fn sleep_until(&self, instant: DateTime<Utc>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            loop {
                let rest = instant - self.now();
                let Ok(rest) = rest.to_std() else { return };
                if rest.is_zero() {
                    return;
                }
                pause(rest.min(Duration::from_secs(60))).await;
            }
        })
    }
}

/// A clock driven by hand, for stories and tests.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<DateTime<Utc>>,
    changed: watch::Sender<DateTime<Utc>>,
}

impl ManualClock {
    /// Starts at an instant.
    #[must_use]
    pub fn at(now: DateTime<Utc>) -> Self {
        Self { now: Mutex::new(truncate(now)), changed: watch::channel(now).0 }
    }

    /// Moves on.
    pub fn advance(&self, by: TimeDelta) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now += by;
        self.changed.send_replace(*now);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trusted(&self) -> bool {
        true
    }

    fn sleep_until(&self, instant: DateTime<Utc>) -> BoxFuture<'_, ()> {
        let mut changed = self.changed.subscribe();
        Box::pin(async move {
            // The sender lives as long as the clock, so this ends when the time has come.
            let _ = changed.wait_for(|now| *now >= instant).await;
        })
    }
}

/// Lets machine time pass: polling and the backoff of I/O, never a domain decision.
pub async fn pause(duration: Duration) {
    #[expect(clippy::disallowed_methods, reason = "the one place where machine time is waited for")]
    tokio::time::sleep(duration).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_backwards_when_the_database_is_behind() {
        let clock = DatabaseClock::default();
        let before = clock.now();
        clock.sample(before - TimeDelta::hours(1), Instant::now());
        assert!(clock.now() >= before);
    }

    #[test]
    fn time_follows_the_database_when_it_is_ahead() {
        let clock = DatabaseClock::default();
        assert!(!clock.trusted());
        let ahead = clock.now() + TimeDelta::hours(1);
        clock.sample(ahead, Instant::now());
        assert!(clock.trusted());
        assert!(clock.now() >= ahead);
    }
}
