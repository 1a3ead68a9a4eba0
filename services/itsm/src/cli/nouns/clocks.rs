//! Agreements, calendars and the clocks that they start.

use super::super::noun::*;

const KINDS: &[&str] = &["sla", "ola", "underpinning-contract"];

/// One target of one incident, counting.
pub const CLOCK: Noun = Noun {
    name: "clock",
    about: "Clocks: how much of the agreed time is gone",
    examples: "Examples:
  itsm clock list --filter 'state = \"RUNNING\"'
  itsm clock list --filter 'breached = true'
  itsm clock watch",
    path: "clocks",
    list_field: "clocks",
    record_field: "clock",
    handle: Handle::Id,
    filters: "state, metric, incident_id, breached, service_id, agreement_id, priority",
    columns: &[
        column("id", "id", Shown::Id),
        column("incident", "incidentNumber", Shown::Text),
        column("metric", "metric", Shown::Word),
        column("priority", "priority", Shown::Word),
        column("state", "state", Shown::Word),
        column("counted", "elapsedSeconds", Shown::Progress),
        column("due", "dueTime", Shown::Time),
        column("breached", "breachTime", Shown::Time),
    ],
    particulars: &[
        column("how it was computed", "explanation", Shown::Text),
        column("agreement", "agreementId", Shown::Of(Kind::Agreement)),
        column("calendar", "calendarId", Shown::Of(Kind::Calendar)),
        column("service", "serviceId", Shown::Of(Kind::Service)),
        column("team", "assignedTeamId", Shown::Of(Kind::Team)),
        column("started", "startTime", Shown::Time),
        column("at risk from", "atRiskDueTime", Shown::Time),
        column("was at risk", "atRiskTime", Shown::Time),
        column("provisional", "provisional", Shown::Flag),
        column("stopped", "stopTime", Shown::Time),
        column("id", "id", Shown::Text),
    ],
    verbs: &[LIST, SHOW_WITH_STORY, WATCH, HISTORY],
    nested: &[],
};

/// What was agreed.
pub const AGREEMENT: Noun = Noun {
    name: "agreement",
    about: "Agreements: what was promised for a service",
    examples: "Examples:
  itsm agreement create \"Checkout, gold\" --service checkout --target P1=15m/4h --target P2=30m/8h
  itsm agreement activate 4f1c09aa
  itsm agreement list",
    path: "agreements",
    list_field: "agreements",
    record_field: "agreement",
    handle: Handle::Id,
    filters: "state, kind, service_id",
    columns: &[
        column("id", "id", Shown::Id),
        column("name", "displayName", Shown::Text),
        column("kind", "kind", Shown::Word),
        column("state", "state", Shown::Word),
        column("service", "serviceId", Shown::Of(Kind::Service)),
        column("targets (response / resolution)", "targets", Shown::Targets),
    ],
    particulars: &[
        column("created", "createTime", Shown::Time),
        column("id", "id", Shown::Text),
        column("revision", "revision", Shown::Text),
    ],
    verbs: &[
        LIST,
        SHOW_WITH_STORY,
        verb(
            "create",
            "Drafts one; activate it to let it start clocks",
            Does::Create(Answer::Record),
            &[
                positional("name", "displayName", Takes::Text, "The name people read"),
                option_or("kind", "kind", Takes::Word(KINDS), "sla", "Between whom"),
                option("service", "serviceId", Takes::One(Kind::Service), "The service; left out, for all others"),
                required(
                    "target",
                    "targets",
                    Takes::Targets,
                    "PRIORITY=RESPONSE/RESOLUTION[@CALENDAR], such as P1=15m/4h or P3=2h/24h@office",
                ),
            ],
        ),
        act("activate", "Lets it start clocks", &[]),
        act("retire", "Lets it start no more clocks", &[]),
        WATCH,
        HISTORY,
    ],
    nested: &[],
};

/// When time counts.
pub const CALENDAR: Noun = Noun {
    name: "calendar",
    about: "Calendars: when time counts",
    examples: "",
    path: "calendars",
    list_field: "calendars",
    record_field: "calendar",
    handle: Handle::Name { shown: "name", filter: "name" },
    filters: "state, name",
    columns: &[
        column("name", "name", Shown::Text),
        column("display name", "displayName", Shown::Text),
        column("zone", "timeZone", Shown::Text),
        column("state", "state", Shown::Word),
    ],
    particulars: &[
        column("holidays", "holidays", Shown::List),
        column("id", "id", Shown::Text),
        column("revision", "revision", Shown::Text),
    ],
    verbs: &[LIST, SHOW, act("retire", "Takes it out of use", &[]), HISTORY],
    nested: &[],
};
