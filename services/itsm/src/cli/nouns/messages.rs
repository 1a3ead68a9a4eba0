//! Who is told what, by which way.

use super::super::noun::*;

const METHODS: &[&str] = &["mail", "webhook"];

/// One message to one person by one way about one event.
pub const DELIVERY: Noun = Noun {
    name: "delivery",
    about: "Deliveries: who was told, by which way, and whether it arrived",
    examples: "Examples:
  itsm delivery list --filter 'state = \"FAILED\"'
  itsm delivery show 4f1c09aa
  itsm delivery cancel 4f1c09aa",
    path: "deliveries",
    list_field: "deliveries",
    record_field: "delivery",
    handle: Handle::Id,
    filters: "state, method, person_id, rule_id, subject_record_id, event_type",
    columns: &[
        column("id", "id", Shown::Id),
        column("state", "state", Shown::Word),
        column("person", "personId", Shown::Of(Kind::Person)),
        column("by", "method", Shown::Word),
        column("about", "eventType", Shown::Text),
        column("record", "subjectRecordNumber", Shown::Text),
        column("tries", "attemptCount", Shown::Text),
        column("requested", "createTime", Shown::Time),
        column("delivered", "deliverTime", Shown::Time),
    ],
    particulars: &[
        column("why", "reason", Shown::Text),
        column("message", "sequence", Shown::Text),
        column("next try", "nextAttemptTime", Shown::Time),
        column("rule", "ruleId", Shown::Text),
        column("contact method", "contactMethodId", Shown::Text),
        column("id", "id", Shown::Text),
    ],
    verbs: &[LIST, SHOW_WITH_STORY, act("cancel", "Sends it no more", &[]), WATCH, HISTORY],
    nested: &[],
};

/// A way to reach a person.
pub const CONTACT: Noun = Noun {
    name: "contact",
    about: "Contact methods: the ways to reach people",
    examples: "Examples:
  itsm contact create --person me --method mail --address ada@example.com
  itsm contact create --person ada@example.com --method webhook --address https://hooks.example.com/itsm
  itsm contact test 4f1c09aa",
    path: "contactMethods",
    list_field: "contactMethods",
    record_field: "contactMethod",
    handle: Handle::Id,
    filters: "person_id, method, state",
    columns: &[
        column("id", "id", Shown::Id),
        column("person", "personId", Shown::Of(Kind::Person)),
        column("method", "method", Shown::Word),
        column("name", "displayName", Shown::Text),
        column("address", "address", Shown::Text),
        column("state", "state", Shown::Word),
        column("because", "stateReason", Shown::Text),
    ],
    particulars: &[column("id", "id", Shown::Text), column("revision", "revision", Shown::Text)],
    verbs: &[
        LIST,
        SHOW,
        verb(
            "create",
            "Adds one; the signing secret of a webhook is shown this once",
            Does::Create(Answer::WithSecret { record: "contactMethod", secret: "signingSecret" }),
            &[
                required("person", "personId", Takes::One(Kind::Person), "Whom it reaches, `me` for yourself"),
                required("method", "method", Takes::Word(METHODS), "By which way"),
                required("address", "address", Takes::Text, "The mail address or the URL"),
                option("name", "displayName", Takes::Text, "What it is"),
            ],
        ),
        act("disable", "Uses it no more", &[]),
        act("enable", "Uses it again", &[]),
        verb("test", "Sends a test message", Does::Act("test", Answer::Record), &[]),
        HISTORY,
    ],
    nested: &[],
};

/// Which events are told to whom.
pub const RULE: Noun = Noun {
    name: "rule",
    about: "Notification rules: which events are told to whom",
    examples: "Examples:
  itsm rule create \"P1 to the team\" --event incident.opened --filter 'priority = P1' --assigned-team
  itsm rule create \"Breaches\" --event sla.clock_breached --to-team operations --repeat-after 15m",
    path: "notificationRules",
    list_field: "notificationRules",
    record_field: "rule",
    handle: Handle::Id,
    filters: "state, event_type",
    columns: &[
        column("id", "id", Shown::Id),
        column("name", "displayName", Shown::Text),
        column("event", "eventType", Shown::Text),
        column("filter", "filter", Shown::Text),
        column("assigned team", "recipients.assignedTeam", Shown::Flag),
        column("teams", "recipients.teamIds", Shown::AllOf(Kind::Team)),
        column("people", "recipients.personIds", Shown::AllOf(Kind::Person)),
        column("by", "methods", Shown::List),
        column("state", "state", Shown::Word),
    ],
    particulars: &[
        column("assignee", "recipients.assignee", Shown::Flag),
        column("else administrators", "recipients.elseAdministrators", Shown::Flag),
        column("repeats after", "repeatAfterSeconds", Shown::Seconds),
        column("id", "id", Shown::Text),
        column("revision", "revision", Shown::Text),
    ],
    verbs: &[
        LIST,
        SHOW,
        verb(
            "create",
            "Adds one",
            Does::Create(Answer::Record),
            &[
                positional("name", "displayName", Takes::Text, "The name people read"),
                required("event", "eventType", Takes::Text, "The event, such as `incident.opened`"),
                option("filter", "filter", Takes::Text, "Which records, such as 'priority = P1'"),
                option("assigned-team", "recipients.assignedTeam", Takes::Flag, "Tell the team that has the record"),
                option("assignee", "recipients.assignee", Takes::Flag, "Tell the person that has it"),
                option("to-team", "recipients.teamIds", Takes::Many(Kind::Team), "Tell this team"),
                option("to-person", "recipients.personIds", Takes::Many(Kind::Person), "Tell this person"),
                option(
                    "else-administrators",
                    "recipients.elseAdministrators",
                    Takes::Flag,
                    "Tell the administrators when nobody else is found",
                ),
                option("by", "methods", Takes::Words(METHODS), "By this way alone; by all when left out"),
                option(
                    "repeat-after",
                    "repeatAfterSeconds",
                    Takes::Seconds,
                    "Tell once more while nobody acknowledges",
                ),
            ],
        ),
        act("disable", "Applies it no more", &[]),
        act("enable", "Applies it again", &[]),
        HISTORY,
    ],
    nested: &[],
};

/// Tests by hand.
pub const NOTIFICATION: Noun = Noun {
    name: "notification",
    about: "Tries whether people can be reached",
    examples: "Examples:
  itsm notification test me
  itsm notification test ada@example.com",
    path: "deliveries",
    list_field: "deliveries",
    record_field: "delivery",
    handle: Handle::Id,
    filters: "",
    columns: DELIVERY.columns,
    particulars: &[],
    verbs: &[verb(
        "test",
        "Sends a test message by every way of a person, and says what became of it",
        Does::Special(Special::TestPerson),
        &[positional("person", "", Takes::One(Kind::Person), "The person, `me` for yourself")],
    )],
    nested: &[],
};
