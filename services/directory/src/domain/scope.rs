//! What a key may be limited to: `incident.*`, `*.read`, `change.write`.

use std::{fmt, str::FromStr};

/// The services that a scope can name; a test compares them with the contract's.
pub const SERVICES: &[&str] = &["directory", "catalog", "alert", "incident", "change", "sla", "notification"];
/// What a scope can allow.
pub const VERBS: &[&str] = &["read", "write"];
const ANY: &str = "*";

/// A limit of a key: a service and what may be done there, either of them `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    service: &'static str,
    verb: &'static str,
}

/// Text that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be SERVICE.VERB with SERVICE one of {}, * and VERB one of {}, *, such as incident.*", SERVICES.join(", "), VERBS.join(", "))]
pub struct NoScope;

impl Scope {
    /// Whether everything that the other allows is allowed by this one as well.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        (self.service == ANY || self.service == other.service) && (self.verb == ANY || self.verb == other.verb)
    }

    /// Whether a key limited to `wanted` can do nothing that one limited to `granted` cannot. No
    /// scope at all means no limit.
    #[must_use]
    pub fn narrows(granted: &[Self], wanted: &[Self]) -> bool {
        granted.is_empty()
            || (!wanted.is_empty() && wanted.iter().all(|wanted| granted.iter().any(|scope| scope.covers(wanted))))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service, self.verb)
    }
}

impl FromStr for Scope {
    type Err = NoScope;

    fn from_str(text: &str) -> Result<Self, NoScope> {
        let one_of = |known: &[&'static str], text: &str| {
            known.iter().copied().chain([ANY]).find(|known| *known == text).ok_or(NoScope)
        };
        let (service, verb) = text.split_once('.').ok_or(NoScope)?;
        Ok(Self { service: one_of(SERVICES, service)?, verb: one_of(VERBS, verb)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scopes(texts: &[&str]) -> Vec<Scope> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_known_services_and_verbs_are_scopes() {
        for text in ["incident.read", "*.write", "sla.*", "*.*"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "*",
            "incident",
            "incident.",
            ".read",
            "incident.delete",
            "Incident.read",
            "incident.read.x",
            "gateway.*",
        ] {
            assert_eq!(text.parse::<Scope>(), Err(NoScope), "{text}");
        }
    }

    #[test]
    fn a_limited_key_makes_no_wider_one() {
        let granted = scopes(&["incident.*", "*.read"]);
        assert!(Scope::narrows(&granted, &scopes(&["incident.write", "change.read"])));
        assert!(!Scope::narrows(&granted, &scopes(&["change.write"])));
        assert!(!Scope::narrows(&granted, &scopes(&["*.*"])));
        assert!(!Scope::narrows(&granted, &[]), "no scope at all is the widest");
        assert!(Scope::narrows(&[], &[]));
        assert!(Scope::narrows(&[], &scopes(&["*.*"])));
    }

    fn any_scope() -> impl Strategy<Value = Scope> {
        let services: Vec<&str> = SERVICES.iter().copied().chain([ANY]).collect();
        let verbs: Vec<&str> = VERBS.iter().copied().chain([ANY]).collect();
        (proptest::sample::select(services), proptest::sample::select(verbs))
            .prop_map(|(service, verb)| Scope { service, verb })
    }

    fn allows(scopes: &[Scope], service: &str, verb: &str) -> bool {
        scopes.is_empty()
            || scopes.iter().any(|s| (s.service == ANY || s.service == service) && (s.verb == ANY || s.verb == verb))
    }

    proptest! {
        #[test]
        fn narrowing_never_adds_a_permission(
            granted in proptest::collection::vec(any_scope(), 0..4),
            wanted in proptest::collection::vec(any_scope(), 0..4),
        ) {
            if Scope::narrows(&granted, &wanted) {
                for service in SERVICES {
                    for verb in VERBS {
                        prop_assert!(!allows(&wanted, service, verb) || allows(&granted, service, verb));
                    }
                }
            }
        }
    }
}
