//! Alerts and where they come from.

use super::{super::noun::*, SEVERITIES};

const FORMATS: &[&str] = &["generic", "alertmanager", "prometheus", "cloudevents"];
const WITH_KEY: Answer = Answer::WithSecret { record: "integration", secret: "key" };
const INTEGRATION_KEY: Field = option(
    "integration-key",
    "",
    Takes::Secret("ITSM_INTEGRATION_KEY"),
    "The key of the integration; else demo.key of the data folder",
);

/// One firing episode of one condition.
pub const ALERT: Noun = Noun {
    name: "alert",
    about: "Alerts: what monitoring says",
    examples: "Examples:
  itsm alert send \"Disk of db1 is full\" --severity critical --label host=db1 --dedup-key db1/disk
  itsm alert clear --dedup-key db1/disk
  itsm alert send --file webhook.json --format alertmanager
  itsm alert list --filter 'state = \"ACTIVE\"'
  itsm alert rejected",
    path: "alerts",
    list_field: "alerts",
    record_field: "alert",
    handle: Handle::Id,
    filters: "state, severity, integration_id, service_id, ci_id, dedup_key",
    columns: &[
        column("id", "id", Shown::Id),
        column("severity", "severity", Shown::Word),
        column("state", "state", Shown::Word),
        column("title", "title", Shown::Text),
        column("service", "serviceId", Shown::Of(Kind::Service)),
        column("times", "occurrenceCount", Shown::Text),
        column("started", "startTime", Shown::Time),
        column("last seen", "lastSeenTime", Shown::Time),
    ],
    particulars: &[
        column("opens an incident", "opensIncident", Shown::Flag),
        column("why", "decision", Shown::Text),
        column("integration", "integrationId", Shown::Of(Kind::Integration)),
        column("dedup key", "dedupKey", Shown::Text),
        column("item", "ciId", Shown::Of(Kind::Ci)),
        column("team", "teamId", Shown::Of(Kind::Team)),
        column("clears by itself", "expireTime", Shown::Time),
        column("cleared", "clearTime", Shown::Time),
        column("cleared by", "clearReason", Shown::Word),
        column("labels", "labels", Shown::Pairs),
        column("annotations", "annotations", Shown::Pairs),
        column("description", "description", Shown::Text),
        column("source", "sourceUrl", Shown::Text),
        column("id", "id", Shown::Text),
    ],
    verbs: &[
        LIST,
        SHOW_WITH_STORY,
        verb(
            "send",
            "Posts an alert, as a source would",
            Does::Special(Special::SendAlert),
            &[
                optional_positional("title", "title", Takes::Text, "One line"),
                option("severity", "severity", Takes::Word(SEVERITIES), "How bad it is; medium when left out"),
                option("description", "description", Takes::Text, "More"),
                option("dedup-key", "dedup_key", Takes::Text, "What makes it the same alert; else title and labels"),
                option("label", "labels", Takes::Pairs, "NAME=VALUE; `service` and `host` find service and item"),
                option("annotation", "annotations", Takes::Pairs, "NAME=VALUE that explains"),
                option("started", "started_at", Takes::Time, "When it began"),
                option("until", "ended_at", Takes::Time, "When it clears by itself, such as +10m"),
                option("link", "url", Takes::Text, "Where the source shows it"),
                option("file", "", Takes::File, "Post this file instead, as it is"),
                option("format", "", Takes::Word(FORMATS), "What the file holds; generic when left out"),
                INTEGRATION_KEY,
            ],
        ),
        verb(
            "clear",
            "Clears one by hand; with --dedup-key as its source would",
            Does::Special(Special::ClearAlert),
            &[
                optional_positional("alert", "", Takes::One(Kind::Alert), "The alert, by id or the end of its id"),
                option("dedup-key", "", Takes::Text, "The key that it was sent with"),
                INTEGRATION_KEY,
            ],
        ),
        verb("rejected", "Lists what came in and could not be used, and why", Does::ListOf(&REJECTED), &[]),
        WATCH,
        HISTORY,
    ],
    nested: &[],
};

/// What came in and could not be used.
const REJECTED: Noun = Noun {
    name: "rejected",
    about: "What came in and could not be used, with the reason",
    examples: "",
    path: "rejectedAlerts",
    list_field: "rejectedAlerts",
    record_field: "",
    handle: Handle::Id,
    filters: "",
    columns: &[
        column("received", "receiveTime", Shown::Time),
        column("integration", "integrationId", Shown::Of(Kind::Integration)),
        column("format", "format", Shown::Text),
        column("field", "field", Shown::Text),
        column("reason", "reason", Shown::Text),
        column("raw", "raw", Shown::Line),
    ],
    particulars: &[],
    verbs: &[],
    nested: &[],
};

/// A source of alerts with its own key.
pub const INTEGRATION: Noun = Noun {
    name: "integration",
    about: "Integrations: the sources of alerts and their keys",
    examples: "Examples:
  itsm integration create prometheus --display-name \"Prometheus, production\" --team operations
  itsm integration rotate-key prometheus
  itsm integration disable prometheus",
    path: "integrations",
    list_field: "integrations",
    record_field: "integration",
    handle: Handle::Name { shown: "name", filter: "name" },
    filters: "state, name",
    columns: &[
        column("name", "name", Shown::Text),
        column("display name", "displayName", Shown::Text),
        column("state", "state", Shown::Word),
        column("team", "teamId", Shown::Of(Kind::Team)),
        column("service", "serviceId", Shown::Of(Kind::Service)),
        column("opens incidents from", "openIncidentFrom", Shown::Word),
        column("key", "keyHint", Shown::Text),
    ],
    particulars: &[
        column("created", "createTime", Shown::Time),
        column("id", "id", Shown::Text),
        column("revision", "revision", Shown::Text),
    ],
    verbs: &[
        LIST,
        SHOW,
        verb(
            "create",
            "Creates one; its key is shown this once",
            Does::Create(WITH_KEY),
            &[
                positional("name", "name", Takes::Text, "A short name, [a-z0-9-]"),
                option("display-name", "displayName", Takes::Text, "The name people read; the short name if left out"),
                option("team", "teamId", Takes::One(Kind::Team), "Who gets incidents when no service is known"),
                option("service", "serviceId", Takes::One(Kind::Service), "What alerts belong to when no label says"),
                option("open-from", "openIncidentFrom", Takes::Word(SEVERITIES), "From which severity incidents open"),
            ],
        ),
        verb("rotate-key", "Makes a new key; the old one is refused", Does::Act("rotateKey", WITH_KEY), &[]),
        act("disable", "Refuses its key", &[]),
        act("enable", "Takes alerts again", &[]),
        WATCH,
        HISTORY,
    ],
    nested: &[],
};
