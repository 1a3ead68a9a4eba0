//! Turns: how many calls of one tenant are worked on at once, and how many wait in line for it.
//!
//! The services behind have few connections to their database each, so more calls at once make
//! nothing faster. A tenant that calls too much waits in its own line, and is refused when that is
//! full, early and at little cost; the others do not stand behind it. What is worked on at once is
//! shared among the tenants that call: with two of them each has half.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kit::problem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// When a caller that was refused may come again.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// How long after its last call a tenant counts as one that calls, and how often that is counted.
const CALLS_FOR: Duration = Duration::from_secs(1);
const COUNTED_EVERY: Duration = Duration::from_millis(100);

/// The line of one tenant.
#[derive(Debug)]
struct Line {
    /// Room in the line, those worked on included.
    room: Arc<Semaphore>,
    /// Worked on.
    work: Arc<Semaphore>,
}

/// A call that is worked on; dropped, the next in line is called.
#[derive(Debug)]
pub struct Turn {
    _work: OwnedSemaphorePermit,
    _room: OwnedSemaphorePermit,
}

/// The lines of all tenants: as many as tenants with a good credential called.
#[derive(Debug)]
pub struct Turns {
    at_once: usize,
    waiting: usize,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    by_tenant: HashMap<Box<str>, (Arc<Line>, Instant)>,
    /// How many tenants call, and when they were counted.
    calling: Option<(usize, Instant)>,
}

impl Turns {
    /// So many at once and so many waiting, of each tenant.
    pub fn new(at_once: usize, waiting: usize) -> Self {
        Self { at_once, waiting, lines: Mutex::default() }
    }

    /// Waits for a turn; whoever hangs up leaves the line.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED at once when the tenant's line is full.
    pub async fn next(&self, tenant: &str) -> Result<Turn, Status> {
        let (line, calling) = self.line(tenant);
        let _room = line.room.clone().try_acquire_owned().map_err(|_| full())?;
        // A turn weighs as much as there are tenants that call.
        let weight = u32::try_from(calling.clamp(1, self.at_once.max(1))).unwrap_or(1);
        let _work = line.work.clone().acquire_many_owned(weight).await.map_err(|_| full())?;
        Ok(Turn { _work, _room })
    }

    /// The tenant's line, and how many tenants call.
    fn line(&self, tenant: &str) -> (Arc<Line>, usize) {
        let now = Instant::now();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Lines { by_tenant, calling } = &mut *lines;
        let line = match by_tenant.get_mut(tenant) {
            Some((line, last)) => {
                *last = now;
                line.clone()
            }
            None => {
                let line = Arc::new(Line {
                    room: Arc::new(Semaphore::new(self.at_once.saturating_add(self.waiting))),
                    work: Arc::new(Semaphore::new(self.at_once)),
                });
                by_tenant.insert(tenant.into(), (line.clone(), now));
                *calling = None;
                line
            }
        };
        let count = match *calling {
            Some((count, at)) if now.duration_since(at) < COUNTED_EVERY => count,
            Some(_) | None => {
                let count = by_tenant.values().filter(|(_, last)| now.duration_since(*last) < CALLS_FOR).count();
                *calling = Some((count, now));
                count
            }
        };
        (line, count)
    }
}

fn full() -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("TOO_MANY_CALLS", problem::DOMAIN, HashMap::new());
    details.set_retry_info(Some(COME_AGAIN));
    let message = "too many calls of this tenant at once; try again after a second, with fewer at a time";
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_tenant_waits_in_its_own_line_and_is_refused_when_that_is_full() {
        let turns = Turns::new(2, 1);
        let first = turns.next("acme").await.unwrap();
        let _second = turns.next("acme").await.unwrap();
        let mut third = Box::pin(turns.next("acme"));
        assert!((&mut third).now_or_never().is_none(), "waits");
        let refused = turns.next("acme").await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(refused.get_details_retry_info().unwrap().retry_delay, Some(COME_AGAIN));
        assert!(turns.next("globex").now_or_never().unwrap().is_ok(), "another tenant does not stand behind it");
        drop(first);
        assert!(third.await.is_ok());
    }

    #[tokio::test]
    async fn tenants_that_call_at_the_same_time_share_what_is_worked_on() {
        let turns = Turns::new(4, 8);
        let alone = turns.next("acme").await.unwrap();
        assert_eq!(alone._work.num_permits(), 1);
        let beside = turns.next("globex").await.unwrap();
        assert_eq!(beside._work.num_permits(), 2, "half of it for each of two");
        drop(alone);
        let _first = turns.next("acme").await.unwrap();
        let second = turns.next("acme").await.unwrap();
        let mut third = Box::pin(turns.next("acme"));
        assert!((&mut third).now_or_never().is_none(), "two of four at once");
        drop(second);
        assert!(third.await.is_ok());
    }

    #[tokio::test]
    async fn whoever_hangs_up_leaves_the_line() {
        let turns = Turns::new(1, 1);
        let working = turns.next("acme").await.unwrap();
        let mut waiting = Box::pin(turns.next("acme"));
        assert!((&mut waiting).now_or_never().is_none());
        drop(waiting);
        drop(working);
        let _worked_on = turns.next("acme").await.unwrap();
        let mut next = Box::pin(turns.next("acme"));
        assert!((&mut next).now_or_never().is_none(), "there is room to wait again");
    }
}
