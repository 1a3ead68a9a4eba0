//! Incidents.

use super::{super::noun::*, IMPACTS};

const URGENCIES: &[&str] = &["critical", "high", "medium", "low"];
const PRIORITIES: &[&str] = &["P1", "P2", "P3", "P4"];
const PENDING_REASONS: &[&str] = &["user", "supplier", "change", "problem", "other"];
const RESOLUTION_CODES: &[&str] =
    &["fixed", "workaround", "cleared-by-monitoring", "duplicate", "not-reproducible", "no-fault-found"];
const MODES: &[&str] = &["automatic", "manual"];
const CHANNELS: &[&str] = &["api", "phone", "mail", "portal"];

const NOTE: Field = option("note", "note", Takes::Text, "A note for the history");

/// An unplanned interruption of a service.
pub const INCIDENT: Noun = Noun {
    name: "incident",
    about: "Incidents: what is broken, who has it, and how it ends",
    examples: "Examples:
  itsm incident list --filter 'state = \"NEW\" AND priority <= 2'
  itsm incident show INC0001042
  itsm incident create \"Checkout is slow\" --impact significant --urgency high --service checkout
  itsm incident assign INC0001042 --team payments --to me --note \"looks like the database\"
  itsm incident resolve INC0001042 --code fixed --notes \"restarted the pool\"
  itsm incident watch --since 1h",
    path: "incidents",
    list_field: "incidents",
    record_field: "incident",
    handle: Handle::Number { prefix: "INC" },
    filters: "state, priority, assigned_team_id, assignee_id, service_id, ci_id, category, number, create_time",
    columns: &[
        column("number", "number", Shown::Text),
        column("priority", "priority", Shown::Word),
        column("state", "state", Shown::Word),
        column("title", "title", Shown::Text),
        column("team", "assignedTeamId", Shown::Of(Kind::Team)),
        column("assignee", "assigneeId", Shown::Of(Kind::Person)),
        column("service", "serviceId", Shown::Of(Kind::Service)),
        column("opened", "createTime", Shown::Time),
    ],
    particulars: &[
        column("waits for", "pendingReason", Shown::Word),
        column("why this priority", "priorityReason", Shown::Text),
        column("impact", "impact", Shown::Word),
        column("urgency", "urgency", Shown::Word),
        column("category", "category", Shown::Text),
        column("item at fault", "ciId", Shown::Of(Kind::Ci)),
        column("reported by", "reporterId", Shown::Of(Kind::Person)),
        column("came by", "channel", Shown::Word),
        column("resolves", "resolutionMode", Shown::Word),
        column("taken over", "takenOver", Shown::Flag),
        column("acknowledged by", "acknowledgedById", Shown::Of(Kind::Person)),
        column("acknowledged", "acknowledgeTime", Shown::Time),
        column("resolved", "resolveTime", Shown::Time),
        column("resolved as", "resolutionCode", Shown::Word),
        column("what was done", "resolutionNotes", Shown::Text),
        column("closed", "closeTime", Shown::Time),
        column("description", "description", Shown::Text),
        column("id", "id", Shown::Text),
        column("revision", "revision", Shown::Text),
    ],
    verbs: &[
        LIST,
        verb(
            "show",
            "Shows one with its clocks, who was told, and its story",
            Does::Show(&[Also::Clocks, Also::Deliveries, Also::Story]),
            &[],
        ),
        verb(
            "create",
            "Opens one",
            Does::Create(Answer::Record),
            &[
                positional("title", "title", Takes::Text, "One line"),
                option("description", "description", Takes::Text, "More"),
                required("impact", "impact", Takes::Word(IMPACTS), "How much business is hurt"),
                required("urgency", "urgency", Takes::Word(URGENCIES), "How soon it hurts"),
                option("service", "serviceId", Takes::One(Kind::Service), "The service that suffers"),
                option("ci", "ciId", Takes::One(Kind::Ci), "The configuration item at fault"),
                option("team", "assignedTeamId", Takes::One(Kind::Team), "The team that gets it"),
                option("reporter", "reporterId", Takes::One(Kind::Person), "Who reported it, if not you"),
                option("category", "category", Takes::Text, "What kind of trouble, such as `database`"),
                option("channel", "channel", Takes::Word(CHANNELS), "How it came"),
                option("resolution-mode", "resolutionMode", Takes::Word(MODES), "Who resolves it"),
            ],
        ),
        verb(
            "update",
            "Changes what is given",
            Does::Update,
            &[
                option("title", "title", Takes::Text, "One line"),
                option("description", "description", Takes::Text, "More"),
                option("impact", "impact", Takes::Word(IMPACTS), "How much business is hurt"),
                option("urgency", "urgency", Takes::Word(URGENCIES), "How soon it hurts"),
                option("service", "serviceId", Takes::One(Kind::Service), "The service that suffers"),
                option("ci", "ciId", Takes::One(Kind::Ci), "The configuration item at fault"),
                option("category", "category", Takes::Text, "What kind of trouble"),
                option("resolution-mode", "resolutionMode", Takes::Word(MODES), "Who resolves it"),
            ],
        ),
        act("acknowledge", "Says that you have seen it", &[]),
        act(
            "assign",
            "Gives it to a team, a person, or both",
            &[
                option("team", "teamId", Takes::One(Kind::Team), "The team; left out, it stays"),
                option("to", "assigneeId", Takes::One(Kind::Person), "The person, `me` for yourself"),
                NOTE,
            ],
        ),
        act("start", "Says that work has begun", &[NOTE]),
        act(
            "hold",
            "Lets it wait for something outside; the clocks pause",
            &[required("for", "pendingReason", Takes::Word(PENDING_REASONS), "What it waits for"), NOTE],
        ),
        act("resume", "Goes on after waiting", &[NOTE]),
        act(
            "resolve",
            "Says that service is restored",
            &[
                required("code", "resolutionCode", Takes::Word(RESOLUTION_CODES), "How it ended"),
                required("notes", "resolutionNotes", Takes::Text, "What was done"),
            ],
        ),
        act("close", "Ends it for good", &[NOTE]),
        act("cancel", "Says that it was none", &[required("reason", "reason", Takes::Text, "Why")]),
        act("reopen", "Takes it up again", &[required("reason", "reason", Takes::Text, "Why it is not over")]),
        verb(
            "note",
            "Adds a note to the history",
            Does::Act("addNote", Answer::Record),
            &[positional("text", "text", Takes::Text, "The note")],
        ),
        verb(
            "set-priority",
            "Sets the priority by hand",
            Does::Act("overridePriority", Answer::Record),
            &[
                positional("priority", "priority", Takes::Word(PRIORITIES), "The priority wanted"),
                required("reason", "reason", Takes::Text, "Why"),
            ],
        ),
        verb(
            "link",
            "Adds an alert that belongs to it",
            Does::Act("linkAlert", Answer::Record),
            &[positional("alert", "alertId", Takes::One(Kind::Alert), "The alert")],
        ),
        verb(
            "unlink",
            "Takes away an alert that does not belong to it",
            Does::Act("unlinkAlert", Answer::Record),
            &[positional("alert", "alertId", Takes::One(Kind::Alert), "The alert")],
        ),
        WATCH,
        HISTORY,
    ],
    nested: &[],
};
