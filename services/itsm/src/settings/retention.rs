//! How long things are kept: a period for each class, and what single tenants have instead.
//!
//! A period begins when a record ends; the order of periods is checked when the settings load,
//! because an event must not go before those who still read it.

use std::{collections::BTreeMap, time::Duration};

use kit::config::Period;
use serde::{Deserialize, Serialize};

use crate::provisioner::streams::EVENT_AGE;

/// What still flows is never pruned, whatever is set.
const SHORTEST: Period = Period::new(Duration::from_hours(24));

/// How long things are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Incidents, from when they were closed or cancelled.
    pub incidents: Period,
    /// Changes, from when they were closed or cancelled.
    pub changes: Period,
    /// Alerts, from when they were cleared.
    pub alerts: Period,
    /// Clocks, from when they were met or cancelled; never before their incident is closed.
    pub clocks: Period,
    /// Deliveries, from when they were delivered, failed or cancelled.
    pub deliveries: Period,
    /// Messages of the intake as they came.
    pub raw_alerts: Period,
    /// What came in and could not be used.
    pub rejected_alerts: Period,
    /// The log of tries of deliveries.
    pub attempts: Period,
    /// The numbered order of events: how long a reader may be away and resume.
    pub feeds: Period,
    /// How long a feed waits at most for a service that does not read it.
    pub feeds_at_most: Period,
    /// Events that could not be applied and were set aside.
    pub dead_letters: Period,
    /// What a tenant has instead, by its slug.
    pub tenants: BTreeMap<String, Periods>,
}

const fn days(days: u64) -> Period {
    Period::new(Duration::from_hours(24 * days))
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            incidents: days(730),
            changes: days(1095),
            alerts: days(180),
            clocks: days(730),
            deliveries: days(180),
            raw_alerts: days(30),
            rejected_alerts: days(30),
            attempts: days(90),
            feeds: days(90),
            feeds_at_most: days(180),
            dead_letters: days(180),
            tenants: BTreeMap::new(),
        }
    }
}

/// What a tenant has instead; what is not said is as for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Periods {
    /// Instead of `retention.incidents`.
    pub incidents: Option<Period>,
    /// Instead of `retention.changes`.
    pub changes: Option<Period>,
    /// Instead of `retention.alerts`.
    pub alerts: Option<Period>,
    /// Instead of `retention.clocks`.
    pub clocks: Option<Period>,
    /// Instead of `retention.deliveries`.
    pub deliveries: Option<Period>,
    /// Instead of `retention.raw_alerts`.
    pub raw_alerts: Option<Period>,
    /// Instead of `retention.rejected_alerts`.
    pub rejected_alerts: Option<Period>,
    /// Instead of `retention.attempts`.
    pub attempts: Option<Period>,
}

/// Periods that do not go together.
#[derive(Debug, thiserror::Error)]
#[error("`{key}` is {period}, but {why}")]
pub struct Disorder {
    key: String,
    period: Period,
    why: String,
}

impl Periods {
    /// The period of a class, by its name; none when nothing else is said.
    pub fn of(&self, class: &str) -> Option<Period> {
        match class {
            "incidents" => self.incidents,
            "changes" => self.changes,
            "alerts" => self.alerts,
            "clocks" => self.clocks,
            "deliveries" => self.deliveries,
            "raw_alerts" => self.raw_alerts,
            "rejected_alerts" => self.rejected_alerts,
            "attempts" => self.attempts,
            _ => None,
        }
    }
}

impl Retention {
    /// The period of a class for all, by its name.
    pub fn of(&self, class: &str) -> Option<Period> {
        let all = Periods {
            incidents: Some(self.incidents),
            changes: Some(self.changes),
            alerts: Some(self.alerts),
            clocks: Some(self.clocks),
            deliveries: Some(self.deliveries),
            raw_alerts: Some(self.raw_alerts),
            rejected_alerts: Some(self.rejected_alerts),
            attempts: Some(self.attempts),
        };
        all.of(class)
    }

    /// Stream age < feed <= journal of every class: whoever resumes finds in the feed what is no
    /// longer in the stream, and in the journal what the feed names.
    ///
    /// # Errors
    /// Names the key that is too short, and what it must not be shorter than.
    pub fn check(&self) -> Result<(), Disorder> {
        let stream = Period::new(EVENT_AGE);
        let wrong =
            |key: &str, period: Period, why: String| Err(Disorder { key: format!("retention.{key}"), period, why });
        if self.feeds <= stream {
            return wrong("feeds", self.feeds, format!("the event streams keep {stream}, and a feed must keep longer"));
        }
        if self.feeds_at_most < self.feeds {
            let why = format!("`retention.feeds` is {}, and it must be at least that", self.feeds);
            return wrong("feeds_at_most", self.feeds_at_most, why);
        }
        if self.dead_letters < SHORTEST {
            return wrong("dead_letters", self.dead_letters, format!("it must be at least {SHORTEST}"));
        }
        for class in ["incidents", "changes", "alerts", "clocks", "deliveries"] {
            for (key, period) in self.said(class) {
                if period < self.feeds {
                    let why = format!("`retention.feeds` is {}: a record's events must stay that long", self.feeds);
                    return wrong(&key, period, why);
                }
            }
        }
        for class in ["raw_alerts", "rejected_alerts", "attempts"] {
            for (key, period) in self.said(class) {
                if period < SHORTEST {
                    return wrong(&key, period, format!("it must be at least {SHORTEST}"));
                }
            }
        }
        Ok(())
    }

    /// A class's period for all and for tenants, each with its key.
    fn said<'a>(&'a self, class: &'a str) -> impl Iterator<Item = (String, Period)> + 'a {
        let all = self.of(class).map(|period| (class.to_owned(), period));
        let tenants = self.tenants.iter();
        let tenants =
            tenants.filter_map(move |(slug, periods)| Some((format!("tenants.{slug}.{class}"), periods.of(class)?)));
        all.into_iter().chain(tenants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_order() {
        Retention::default().check().unwrap();
    }

    #[test]
    fn a_wrong_order_names_its_keys() {
        let said = |text: &str| {
            let retention: Retention = toml::from_str(text).unwrap();
            retention.check().unwrap_err().to_string()
        };
        let text = said("feeds = '7d'");
        assert_eq!(text, "`retention.feeds` is 7d, but the event streams keep 7d, and a feed must keep longer");
        let text = said("feeds = '200d'");
        assert_eq!(
            text,
            "`retention.feeds_at_most` is 180d, but `retention.feeds` is 200d, and it must be at least that"
        );
        let text = said("alerts = '89d'");
        assert!(text.starts_with("`retention.alerts` is 89d, but `retention.feeds` is 90d"), "{text}");
        let text = said("tenants = { acme = { incidents = '30d' } }");
        assert!(text.starts_with("`retention.tenants.acme.incidents` is 30d, but `retention.feeds` is 90d"), "{text}");
        assert!(said("raw_alerts = '23h'").contains("`retention.raw_alerts`"));
        assert!(said("tenants = { acme = { attempts = '1h' } }").contains("`retention.tenants.acme.attempts`"));
    }

    #[test]
    fn every_class_that_a_service_names_has_a_period() {
        for service in crate::wiring::SERVICES {
            let classes = service.retention.records.iter().map(|records| records.class);
            let classes = classes.chain(service.retention.leftovers.iter().map(|leftovers| leftovers.class));
            for class in classes.chain(service.retention.slices.iter().map(|slices| slices.class)) {
                assert!(Retention::default().of(class).is_some(), "{} names {class}", service.name);
            }
        }
    }
}
