//! How many messages are on their way at once. So many attempts are begun, in all and to one
//! endpoint, and of those to one endpoint a few are sent at a time: one that hangs delays nobody
//! else and holds few sockets. What finds no room waits in line here, and in the database should this
//! process end.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use kit::id::Tenant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::{DeliveryId, Method};

/// How many attempts are begun at once, in all and to one endpoint.
const BEGUN: usize = 1_024;
const BEGUN_TO_ONE: usize = 128;
/// How many of them are being sent: mails, and to one endpoint.
const MAILS: usize = 16;
const TO_ONE_ENDPOINT: usize = 4;
const IN_LINE_AT_MOST: usize = 10_000;

/// One attempt of one delivery.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// The tenant.
    pub tenant: Tenant,
    /// The delivery.
    pub delivery: DeliveryId,
    /// Which of its attempts.
    pub number: i32,
}

/// A delivery that found no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Where it goes.
    pub endpoint: Endpoint,
}

/// Where a message goes, as far as limits care.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// The mail server.
    Mail,
    /// A host and port.
    Host(String),
}

impl Endpoint {
    /// The endpoint of an address, whose host is given for a webhook.
    #[must_use]
    pub fn of(method: Method, host: String) -> Self {
        match method {
            Method::Mail => Self::Mail,
            Method::Webhook => Self::Host(host),
        }
    }

    const fn turns(&self) -> usize {
        match self {
            Self::Mail => MAILS,
            Self::Host(_) => TO_ONE_ENDPOINT,
        }
    }
}

/// Who is on the way and who waits in line.
#[derive(Debug, Default)]
pub struct Slots {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    held: HashMap<Attempt, Endpoint>,
    begun: HashMap<Endpoint, Begun>,
    line: VecDeque<Waiting>,
    in_line: HashSet<DeliveryId>,
}

/// What is begun to one endpoint.
#[derive(Debug)]
struct Begun {
    count: usize,
    turns: Arc<Semaphore>,
}

/// What became of a wish for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The slot is held, newly.
    Held,
    /// This very attempt holds one already.
    HeldBefore,
    /// There is no room; it may wait in line.
    NoRoom,
}

impl Inner {
    fn room(&self, endpoint: &Endpoint) -> bool {
        self.held.len() < BEGUN && self.begun.get(endpoint).is_none_or(|begun| begun.count < BEGUN_TO_ONE)
    }
}

impl Slots {
    /// Wishes for a slot.
    pub fn hold(&self, attempt: &Attempt, endpoint: Endpoint) -> Wish {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.held.contains_key(attempt) {
            return Wish::HeldBefore;
        }
        if inner.room(&endpoint) {
            let turns = || Begun { count: 0, turns: Arc::new(Semaphore::new(endpoint.turns())) };
            inner.begun.entry(endpoint.clone()).or_insert_with(turns).count += 1;
            inner.held.insert(attempt.clone(), endpoint);
            return Wish::Held;
        }
        Wish::NoRoom
    }

    /// Puts a delivery at the end of the line, once.
    pub fn line_up(&self, waiting: Waiting) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.line.len() < IN_LINE_AT_MOST && inner.in_line.insert(waiting.delivery) {
            inner.line.push_back(waiting);
        }
    }

    /// Whether an attempt is on its way here.
    #[must_use]
    pub fn holds(&self, attempt: &Attempt) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).held.contains_key(attempt)
    }

    /// Gives the slot back.
    pub fn release(&self, attempt: &Attempt) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = inner.held.remove(attempt)
            && let Some(begun) = inner.begun.get_mut(&endpoint)
        {
            begun.count -= 1;
            if begun.count == 0 {
                inner.begun.remove(&endpoint);
            }
        }
    }

    /// Waits until an attempt that holds a slot may be sent; the turn ends when it is dropped.
    pub async fn turn(&self, attempt: &Attempt) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner
                .held
                .get(attempt)
                .and_then(|endpoint| inner.begun.get(endpoint))
                .map(|begun| Arc::clone(&begun.turns))?
        };
        turns.acquire_owned().await.ok()
    }

    /// Whether somebody waits in line.
    pub fn anyone_in_line(&self) -> bool {
        !self.inner.lock().unwrap_or_else(PoisonError::into_inner).line.is_empty()
    }

    /// Takes the first out of the line that has room now.
    pub fn next(&self) -> Option<DeliveryId> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let place = inner.line.iter().position(|waiting| inner.room(&waiting.endpoint))?;
        let Waiting { delivery, .. } = inner.line.remove(place)?;
        inner.in_line.remove(&delivery);
        Some(delivery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> Attempt {
        let tenant = Tenant { id: kit::id::draw().into(), slug: "default".to_owned() };
        Attempt { tenant, delivery: DeliveryId::draw(), number: 1 }
    }

    fn host(name: &str) -> Endpoint {
        Endpoint::Host(name.to_owned())
    }

    #[test]
    fn one_endpoint_that_hangs_leaves_room_for_others() {
        let slots = Slots::default();
        let hanging: Vec<Attempt> = (0..BEGUN_TO_ONE + 6).map(|_| attempt()).collect();
        let mut held = 0;
        for attempt in &hanging {
            match slots.hold(attempt, host("slow:443")) {
                Wish::Held => held += 1,
                _ => slots.line_up(Waiting { delivery: attempt.delivery, endpoint: host("slow:443") }),
            }
        }
        assert_eq!(held, BEGUN_TO_ONE);
        assert_eq!(slots.hold(&attempt(), host("fast:443")), Wish::Held);
        assert_eq!(slots.hold(&hanging[0], host("slow:443")), Wish::HeldBefore);
        assert!(slots.holds(&hanging[0]) && !slots.holds(&hanging[BEGUN_TO_ONE]));
        assert_eq!(slots.next(), None);
        slots.release(&hanging[0]);
        assert_eq!(slots.next(), Some(hanging[BEGUN_TO_ONE].delivery));
        assert_eq!(slots.hold(&hanging[BEGUN_TO_ONE], host("slow:443")), Wish::Held);
    }

    #[tokio::test]
    async fn few_are_sent_to_one_endpoint_at_a_time() {
        let slots = Slots::default();
        let begun: Vec<Attempt> = (0..=TO_ONE_ENDPOINT).map(|_| attempt()).collect();
        for attempt in &begun {
            assert_eq!(slots.hold(attempt, host("slow:443")), Wish::Held);
        }
        let mut turns = Vec::new();
        for attempt in &begun[..TO_ONE_ENDPOINT] {
            turns.push(slots.turn(attempt).await.unwrap());
        }
        let mut waits = Box::pin(slots.turn(&begun[TO_ONE_ENDPOINT]));
        assert!(futures::poll!(&mut waits).is_pending());
        turns.pop();
        assert!(waits.await.is_some());
        assert!(slots.turn(&attempt()).await.is_none(), "only who holds a slot gets a turn");
    }

    #[test]
    fn no_more_than_so_many_in_all() {
        let slots = Slots::default();
        let held: Vec<Attempt> = (0..BEGUN).map(|_| attempt()).collect();
        for (place, attempt) in held.iter().enumerate() {
            assert_eq!(slots.hold(attempt, host(&format!("h{place}:443"))), Wish::Held);
        }
        let next = attempt();
        assert_eq!(slots.hold(&next, host("other:443")), Wish::NoRoom);
        for _ in 0..2 {
            slots.line_up(Waiting { delivery: next.delivery, endpoint: host("other:443") });
        }
        assert_eq!(slots.next(), None);
        slots.release(&held[0]);
        assert_eq!(slots.next(), Some(next.delivery));
        assert_eq!(slots.next(), None);
    }
}
