//! Whatever somebody publishes who may publish anywhere, arbitrary bytes and true messages that were
//! mutated, no consumer stalls, and what is true still takes effect once.
//!
//! One thing it does not do: give a whole true event the number of the next one. Who may do that is
//! the owner of the events, by the rights that the provisioner gives.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use async_nats::{HeaderMap, Message};
use futures::{FutureExt, StreamExt};
use itsm_tests::world::World;
use kit::testing::eventually;

/// How many messages are published between two alerts, and how many alerts there are.
const BETWEEN: usize = 40;
const ALERTS: usize = 8;

/// The same numbers each time.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// Some bytes replaced, cut off or added.
    fn mutated(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.below(3) {
            let from = self.below(bytes.len() + 1);
            let to = (from + self.below(8)).min(bytes.len());
            let by = self.bytes(8);
            bytes.splice(from..to, by);
        }
        bytes
    }
}

/// Headers as they are, or with one of them spoilt.
fn spoilt(chance: &mut Chance, headers: &HeaderMap) -> HeaderMap {
    let names = [
        "Nats-Msg-Id",
        "Itsm-Position",
        "Itsm-Incarnation",
        "Itsm-Revision",
        "Itsm-Tenant-Id",
        "ce-id",
        "ce-source",
        "ce-type",
        "ce-subject",
        "ce-time",
        "traceparent",
        "Itsm-Format",
        "content-type",
    ];
    let values = [
        "",
        "0",
        "-1",
        "9223372036854775807",
        "-9223372036854775808",
        "99999999999999999999",
        "not a number",
        "00000000-0000-0000-0000-000000000000",
        "/itsm/incident",
        "itsm.incident.v1.",
        "+262142-12-31T23:59:60Z",
        "-0001-01-01T00:00:00Z",
        "cloudevents",
        "ä",
    ];
    let mut headers = headers.clone();
    headers.insert(chance.pick(&names), chance.pick(&values));
    headers
}

/// A message that nobody should have sent: subject, headers, body.
fn junk(chance: &mut Chance, seen: &[Message]) -> (String, Option<HeaderMap>, Vec<u8>) {
    let service = chance.pick(&proto::SERVICES);
    let kind = chance.pick(&["opened", "raised", "cleared", "nonsense", "a.b.c"]);
    let tenant = chance.pick(&["default", "nobody", "_feed"]);
    let subjects = [
        format!("itsm.{tenant}.{service}.{kind}"),
        format!("itsm._feed.{service}"),
        format!("itsm._wake.{service}"),
        format!("alerts.{tenant}.demo"),
        format!("alerts.{tenant}.nothing"),
    ];
    let subject = subjects[chance.below(subjects.len())].clone();
    if seen.is_empty() || chance.below(3) == 0 {
        return (subject, None, chance.bytes(200));
    }
    let model = &seen[chance.below(seen.len())];
    let headers = model.headers.clone().unwrap_or_default();
    let body = chance.mutated(model.payload.to_vec());
    match chance.below(3) {
        0 => (subject, Some(headers), body),
        1 => (model.subject.to_string(), Some(spoilt(chance, &headers)), body),
        _ => (model.subject.to_string(), Some(headers), body),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_consumer_stalls_and_what_is_true_takes_effect_once() {
    let world = World::begin().await;
    let mut heard = world.stage.bus.subscribe("itsm.>").await.unwrap();
    let mut taken = world.stage.bus.subscribe("alerts.>").await.unwrap();
    let (mut chance, mut seen) = (Chance(0x9e37_79b9_7f4a_7c15), Vec::new());
    for number in 0..ALERTS {
        world.alert_fires(&format!("disk {number} is full"), "high").await;
        for _ in 0..BETWEEN {
            while let Some(Some(message)) = heard.next().now_or_never() {
                seen.push(message);
            }
            while let Some(Some(message)) = taken.next().now_or_never() {
                seen.push(message);
            }
            let (subject, headers, body) = junk(&mut chance, &seen);
            match headers {
                Some(headers) => world.stage.bus.publish_with_headers(subject, headers, body.into()).await.unwrap(),
                None => world.stage.bus.publish(subject, body.into()).await.unwrap(),
            }
        }
        world.stage.bus.flush().await.unwrap();
    }

    let wanted: Vec<String> = (0..ALERTS).map(|number| format!("disk {number} is full")).collect();
    let incidents = eventually("an incident of each true alert", || async {
        let mut found = world.incidents().await;
        found.retain(|incident| wanted.contains(&incident.title));
        (found.len() >= ALERTS).then_some(found)
    })
    .await;
    assert_eq!(incidents.len(), ALERTS, "one each");
    for incident in &incidents {
        eventually("its clocks", || async { (world.clocks(incident).await.len() == 2).then_some(()) }).await;
        eventually("its page", || async { (world.deliveries(incident).await.len() == 1).then_some(()) }).await;
    }
    follows_on(&world).await;
}

/// Every consumer is where its source is, is ready, and has set nothing aside.
async fn follows_on(world: &World) {
    let mut admin = world.stage.admin().await;
    for service in proto::SERVICES {
        let statement = format!("select count(*) from {service}.dead_letter");
        let dead: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&mut admin).await.unwrap();
        assert_eq!(dead, 0, "{service}: the feeds held only true events");
    }
    let mut behind = Vec::new();
    for _ in 0..500 {
        behind.clear();
        for service in proto::SERVICES {
            let statement =
                format!("select substr(name, 10), position from {service}.lease where name like 'consumer:%'");
            let found: Vec<(String, i64)> =
                sqlx::query_as(sqlx::AssertSqlSafe(statement)).fetch_all(&mut admin).await.unwrap();
            for (source, position) in found {
                let statement = format!("select coalesce(max(position), 0) from {source}.feed");
                let head: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&mut admin).await.unwrap();
                if position < head {
                    behind.push(format!("{service} is at {position} of {head} of {source}"));
                }
            }
        }
        if behind.is_empty() && world.stage.readiness.waiting().is_empty() {
            return;
        }
        kit::clock::pause(Duration::from_millis(20)).await;
    }
    panic!("{behind:?}, waiting: {:?}", world.stage.readiness.waiting());
}
