//! To whom an alert belongs, and whether it opens an incident: each answer with its reason.

use std::collections::BTreeMap;

use kit::id::{CiId, ServiceId, TeamId};

use super::Severity;

/// Labels that name a service of the catalog, the first that is there counts.
const SERVICE_LABELS: [&str; 2] = ["service", "service_name"];
/// Labels that name a configuration item; an `instance` carries its port after a colon.
const CI_LABELS: [&str; 3] = ["ci", "host", "instance"];

/// How much business is hurt; numbered as in the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Impact {
    /// The whole organisation or a vital business function.
    Extensive = 1,
    /// Several teams or an important service.
    Significant = 2,
    /// One team or a minor service.
    Moderate = 3,
    /// A single person.
    Minor = 4,
}

impl Impact {
    /// The level, 1 to 4; 1 is the widest.
    #[must_use]
    pub const fn level(self) -> i16 {
        self as i16
    }

    /// The impact of a level.
    #[must_use]
    pub fn of(level: i16) -> Option<Self> {
        [Self::Extensive, Self::Significant, Self::Moderate, Self::Minor].into_iter().find(|this| this.level() == level)
    }
}

/// Where an alert belongs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Route {
    /// The service.
    pub service_id: Option<ServiceId>,
    /// The configuration item.
    pub ci_id: Option<CiId>,
    /// The team to tell.
    pub team_id: Option<TeamId>,
    /// The impact of the service.
    pub impact: Option<Impact>,
}

/// What the catalog says of a service or of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceFacts<I> {
    /// Which one.
    pub id: I,
    /// The service itself, or the one that the item is part of.
    pub service_id: Option<ServiceId>,
    /// The team that incidents go to: support, else owner.
    pub team_id: Option<TeamId>,
    /// The impact that its failure has.
    pub impact: Option<Impact>,
}

/// Whether an alert opens an incident, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Whether it does.
    pub opens_incident: bool,
    /// Why, in words.
    pub decision: String,
}

/// The service names that labels say, in the order in which they count. Names of the catalog have
/// small letters only.
pub fn service_names(labels: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    SERVICE_LABELS.into_iter().filter_map(|label| labels.get(label)).map(|name| name.to_lowercase())
}

/// The item names that labels say, in the order in which they count: up to a colon.
pub fn ci_names(labels: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    CI_LABELS
        .into_iter()
        .filter_map(|label| labels.get(label))
        .map(|value| value.split(':').next().unwrap_or_default().to_lowercase())
        .filter(|name| !name.is_empty())
}

/// Finds where an alert belongs: the service that its labels name, else that of its item, else that
/// of its integration. The team is the service's, else the item's, else the integration's.
#[must_use]
pub fn route(
    labels: &BTreeMap<String, String>,
    service_by_name: impl Fn(&str) -> Option<ServiceFacts<ServiceId>>,
    ci_by_name: impl Fn(&str) -> Option<ServiceFacts<CiId>>,
    service_by_id: impl Fn(ServiceId) -> Option<ServiceFacts<ServiceId>>,
    integration: (Option<ServiceId>, Option<TeamId>),
) -> Route {
    let ci = ci_names(labels).find_map(|name| ci_by_name(&name));
    let service = service_names(labels)
        .find_map(|name| service_by_name(&name))
        .or_else(|| ci.and_then(|ci| ci.service_id).and_then(&service_by_id))
        .or_else(|| integration.0.and_then(&service_by_id));
    let team_of_service = service.and_then(|service| service.team_id);
    let team_of_ci = ci.and_then(|ci| ci.team_id);
    Route {
        service_id: service.map(|service| service.id),
        ci_id: ci.map(|ci| ci.id),
        team_id: team_of_service.or(team_of_ci).or(integration.1),
        impact: service.and_then(|service| service.impact),
    }
}

/// Decides by severity whether an alert opens an incident. One that opened an incident goes on
/// doing so when it becomes less bad: its incident is there.
#[must_use]
pub fn choose(severity: Severity, open_from: Severity, integration: &str, opened_as: Option<Severity>) -> Choice {
    let (severity_word, from) = (severity.word(), open_from.word());
    if severity.at_least(open_from) {
        let decision =
            format!("opens an incident: {severity_word} is as bad as {from} or worse, from which {integration} does");
        return Choice { opens_incident: true, decision };
    }
    match opened_as {
        Some(before) => Choice {
            opens_incident: true,
            decision: format!("opened an incident as {}; {severity_word} now, which takes nothing back", before.word()),
        },
        None => Choice {
            opens_incident: false,
            decision: format!(
                "only kept: {severity_word} is less bad than {from}, from which {integration} opens incidents"
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn service(id: u128, team: Option<u128>) -> ServiceFacts<ServiceId> {
        let id = ServiceId(uuid::Uuid::from_u128(id));
        let team_id = team.map(|team| TeamId(uuid::Uuid::from_u128(team)));
        ServiceFacts { id, service_id: Some(id), team_id, impact: Some(Impact::Significant) }
    }

    fn found(said: &[(&str, &str)], integration: (Option<u128>, Option<u128>)) -> Route {
        let checkout = service(1, Some(11));
        let storage = service(2, None);
        let host = ServiceFacts {
            id: CiId(uuid::Uuid::from_u128(5)),
            service_id: Some(storage.id),
            team_id: Some(TeamId(uuid::Uuid::from_u128(15))),
            impact: None,
        };
        route(
            &labels(said),
            |name| (name == "checkout").then_some(checkout),
            |name| (name == "db1").then_some(host),
            |id| [checkout, storage].into_iter().find(|service| service.id == id),
            (
                integration.0.map(|id| ServiceId(uuid::Uuid::from_u128(id))),
                integration.1.map(|id| TeamId(uuid::Uuid::from_u128(id))),
            ),
        )
    }

    fn ids(route: Route) -> (Option<u128>, Option<u128>, Option<u128>) {
        (
            route.service_id.map(|id| id.0.as_u128()),
            route.ci_id.map(|id| id.0.as_u128()),
            route.team_id.map(|id| id.0.as_u128()),
        )
    }

    #[test]
    fn labels_lead_to_the_service_the_item_and_their_team() {
        assert_eq!(ids(found(&[("service", "Checkout")], (None, Some(99)))), (Some(1), None, Some(11)));
        assert_eq!(ids(found(&[("service_name", "checkout")], (None, None))), (Some(1), None, Some(11)));
        // The item's service has no team, so the item's counts.
        assert_eq!(ids(found(&[("instance", "db1:9100")], (None, Some(99)))), (Some(2), Some(5), Some(15)));
        assert_eq!(ids(found(&[("service", "checkout"), ("host", "db1")], (None, None))), (Some(1), Some(5), Some(11)));
    }

    #[test]
    fn without_a_label_that_is_known_the_integration_says_where_it_belongs() {
        assert_eq!(ids(found(&[("service", "unknown")], (Some(1), Some(99)))), (Some(1), None, Some(11)));
        assert_eq!(
            ids(found(&[("service", "unknown"), ("instance", ":9100")], (None, Some(99)))),
            (None, None, Some(99))
        );
        assert_eq!(found(&[], (None, None)), Route::default());
    }

    #[test]
    fn severity_decides_and_takes_nothing_back() {
        assert!(choose(Severity::Medium, Severity::Medium, "demo", None).opens_incident);
        assert!(!choose(Severity::Low, Severity::Medium, "demo", None).opens_incident);
        let kept = choose(Severity::Low, Severity::Medium, "demo", Some(Severity::Critical));
        assert_eq!(
            kept,
            Choice {
                opens_incident: true,
                decision: "opened an incident as critical; low now, which takes nothing back".into()
            }
        );
    }
}
