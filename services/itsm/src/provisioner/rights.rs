//! Who may touch which subject inside NATS: the one table of it, as code.
//!
//! A denied request does not fail, it hangs until its timeout, so a service that needs another
//! subject is given it here first. Nobody but the provisioner may make, change, purge or delete a
//! stream or a durable consumer.

use super::claims::{Allow, Rights};

/// The key-value bucket with the digests of the integrations' keys.
pub const KEYS_BUCKET: &str = "integration_keys";
/// The stream that alerts come in by.
pub const INTAKE_STREAM: &str = "ALERTS";
/// The one durable consumer of the intake stream, named after the service that owns it.
pub const INTAKE_CONSUMER: &str = "alert";
/// What clients of other accounts put before the JetStream API to reach their durable consumers.
pub const OUTSIDE_API: &str = "itsm-api";

/// A service as NATS knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name: token of its subjects, name of its user and of its credentials file.
    pub name: &'static str,
    /// The services whose events it follows.
    pub sources: &'static [&'static str],
}

impl Service {
    /// The name of the stream with its events.
    pub fn stream(&self) -> String {
        self.name.to_ascii_uppercase()
    }
}

/// The services with events of their own, in the order they are listed to people.
pub const SERVICES: &[Service] = &[
    Service { name: "directory", sources: &[] },
    Service { name: "catalog", sources: &["directory"] },
    Service { name: "alert", sources: &["directory", "catalog"] },
    Service { name: "incident", sources: &["alert", "directory", "catalog"] },
    Service { name: "change", sources: &["directory", "catalog"] },
    Service { name: "sla", sources: &["incident", "catalog"] },
    Service { name: "notification", sources: &["directory", "incident", "change", "sla", "alert"] },
];

/// The edge: it takes alerts in and says no event of its own.
pub const GATEWAY: &str = "gateway";

/// The service of this name.
pub fn service(name: &str) -> Option<&'static Service> {
    SERVICES.iter().find(|service| service.name == name)
}

/// The inbox that a user's client has to use: `custom_inbox_prefix` without the rest.
pub fn inbox_prefix(user: &str) -> String {
    format!("_INBOX_{user}")
}

fn inbox(user: &str) -> String {
    format!("{}.>", inbox_prefix(user))
}

/// What a service may do inside the services' account.
pub fn of_service(service: &Service) -> Rights {
    let name = service.name;
    let mut publish = vec![format!("itsm.*.{name}.>"), format!("itsm._feed.{name}"), format!("itsm._wake.{name}")];
    let mut subscribe = vec![format!("itsm._feed.{name}"), format!("itsm._wake.{name}"), inbox(name)];
    for source in service.sources {
        subscribe.extend([format!("itsm.*.{source}.>"), format!("itsm._feed.{source}")]);
    }
    if name == INTAKE_CONSUMER {
        let of = format!("{INTAKE_STREAM}.{INTAKE_CONSUMER}");
        publish.extend([
            format!("$JS.API.STREAM.INFO.{INTAKE_STREAM}"),
            format!("$JS.API.CONSUMER.INFO.{of}"),
            format!("$JS.API.CONSUMER.MSG.NEXT.{of}"),
            format!("$JS.ACK.{of}.>"),
            format!("$KV.{KEYS_BUCKET}.>"),
            format!("$JS.API.STREAM.INFO.KV_{KEYS_BUCKET}"),
        ]);
    }
    Rights { publish: Allow::only(publish), subscribe: Allow::only(subscribe) }
}

/// What the gateway may do: hand alerts in and watch the keys, which needs a consumer of its own.
pub fn of_gateway() -> Rights {
    let bucket = format!("KV_{KEYS_BUCKET}");
    let publish = [
        "alerts.*.*".to_owned(),
        format!("$JS.API.STREAM.INFO.{bucket}"),
        format!("$JS.API.DIRECT.GET.{bucket}.>"),
        format!("$JS.API.CONSUMER.CREATE.{bucket}"),
        format!("$JS.API.CONSUMER.CREATE.{bucket}.>"),
        format!("$JS.API.CONSUMER.DELETE.{bucket}.*"),
        format!("$JS.FC.{bucket}.>"),
    ];
    // Revoked keys and changed roles reach the edge as events of the directory.
    let subscribe = ["itsm.*.directory.>".to_owned(), "itsm._feed.directory".to_owned(), inbox(GATEWAY)];
    Rights { publish: Allow::only(publish), subscribe: Allow::only(subscribe) }
}

/// What the provisioner may do inside the services' account.
pub fn of_provisioner() -> Rights {
    Rights { publish: Allow::Everything, subscribe: Allow::Everything }
}

/// What the provisioner may do inside the system account: change accounts, nothing else.
pub fn of_system() -> Rights {
    Rights {
        publish: Allow::only(["$SYS.REQ.CLAIMS.>", "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP"]),
        subscribe: Allow::only([inbox("system")]),
    }
}

/// What a publisher of one integration's alerts may do inside its tenant's account.
pub fn of_publisher(tenant: &str, integration: &str) -> Rights {
    Rights {
        publish: Allow::only([format!("alerts.{tenant}.{integration}")]),
        subscribe: Allow::only([inbox(integration)]),
    }
}

/// What a reader of a tenant's events may do inside that tenant's account.
pub fn of_reader(tenant: &str) -> Rights {
    Rights { publish: Allow::Nothing, subscribe: Allow::only([format!("itsm.{tenant}.>")]) }
}

/// What users of a tenant's account may do who were given nothing else: a safety net.
pub fn of_tenant(tenant: &str) -> Rights {
    Rights {
        publish: Allow::only([format!("alerts.{tenant}.>")]),
        subscribe: Allow::only(["_INBOX_closed.>".to_owned()]),
    }
}

/// What the user of a durable consumer may do inside its tenant's account.
pub fn of_consumer(stream: &str, consumer: &str) -> Rights {
    Rights {
        publish: Allow::only([
            format!("{OUTSIDE_API}.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            format!("{OUTSIDE_API}.CONSUMER.INFO.{stream}.{consumer}"),
            format!("$JS.ACK.{stream}.{consumer}.>"),
        ]),
        subscribe: Allow::only([inbox(consumer)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_a_service_and_no_list_is_empty() {
        for service_row in SERVICES {
            assert!(service_row.sources.iter().all(|source| service(source).is_some()), "{}", service_row.name);
            assert!(of_service(service_row).claim(service_row.name).is_ok());
        }
        assert!(service("gateway").is_none());
    }

    #[test]
    fn only_the_provisioner_reaches_the_stream_api() {
        let all =
            SERVICES.iter().map(of_service).chain([of_gateway(), of_publisher("a", "b"), of_consumer("INCIDENT", "c")]);
        for rights in all {
            let Allow::Only(subjects) = rights.publish else { panic!("everything is allowed") };
            for subject in subjects {
                let forbidden = ["STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "CONSUMER.DURABLE"];
                assert!(!forbidden.iter().any(|word| subject.contains(word)), "{subject}");
                assert!(!subject.starts_with('>') && !subject.starts_with('*'), "{subject}");
            }
        }
    }

    #[test]
    fn a_service_speaks_for_itself_alone() {
        let Allow::Only(subjects) = of_service(&SERVICES[3]).publish else { panic!("everything is allowed") };
        assert_eq!(subjects, ["itsm.*.incident.>", "itsm._feed.incident", "itsm._wake.incident"]);
    }
}
