//! From periods to instants: before which one of a class is past, and for whom.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::settings::retention::Retention;

/// Of whom what ended before an instant is past. Every tenant falls under one rule of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The instant.
    pub before: DateTime<Utc>,
    /// The tenants that have periods of their own.
    pub tenants: Vec<Uuid>,
    /// Whether it is for all but these, instead of for these.
    pub others: bool,
}

/// The ids of the tenants that the settings name. One that is not there yet has nothing to prune.
pub async fn tenants(pool: &PgPool, retention: &Retention) -> Result<BTreeMap<String, Uuid>, sqlx::Error> {
    let slugs: Vec<String> = retention.tenants.keys().cloned().collect();
    if slugs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query_as("select slug, id from directory.tenants where slug = any ($1)").bind(slugs);
    let rows: Vec<(String, Uuid)> = rows.fetch_all(pool).await?;
    Ok(rows.into_iter().collect())
}

/// The rules of a class at an instant.
pub fn rules(
    retention: &Retention,
    tenants: &BTreeMap<String, Uuid>,
    class: &str,
    now: DateTime<Utc>,
) -> anyhow::Result<Vec<Rule>> {
    let Some(default) = retention.of(class) else { anyhow::bail!("the class {class} has no period") };
    let own: Vec<(Uuid, DateTime<Utc>)> = retention
        .tenants
        .iter()
        .filter_map(|(slug, periods)| Some((*tenants.get(slug)?, now - periods.of(class)?.delta())))
        .collect();
    let all = Rule { before: now - default.delta(), tenants: own.iter().map(|(id, _)| *id).collect(), others: true };
    let own = own.into_iter().map(|(id, before)| Rule { before, tenants: vec![id], others: false });
    Ok(std::iter::once(all).chain(own).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_with_a_period_of_its_own_is_under_that_rule_alone() {
        let retention: Retention =
            toml::from_str("incidents = '100d'\ntenants = { acme = { incidents = '200d' }, beta = { alerts = '1d' } }")
                .unwrap();
        let (acme, beta) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let tenants = BTreeMap::from([("acme".to_owned(), acme), ("beta".to_owned(), beta)]);
        let now: DateTime<Utc> = "2026-11-23T00:00:00Z".parse().unwrap();
        let at = |days| now - chrono::TimeDelta::days(days);
        let expected = [
            Rule { before: at(100), tenants: vec![acme], others: true },
            Rule { before: at(200), tenants: vec![acme], others: false },
        ];
        assert_eq!(rules(&retention, &tenants, "incidents", now).unwrap(), expected);
        assert!(rules(&retention, &tenants, "nothing", now).is_err());
    }
}
