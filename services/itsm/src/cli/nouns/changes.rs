//! Changes.

use super::super::noun::*;

const TYPES: &[&str] = &["standard", "normal", "emergency"];
const RISKS: &[&str] = &["minor", "significant", "major"];

/// What a plan is made of.
const DESCRIPTION: Field = option("description", "description", Takes::Text, "More");
const RISK: Field = option("risk", "risk", Takes::Word(RISKS), "What could go wrong");
const REASON: Field = option("reason", "reason", Takes::Text, "Why it is wanted");
const PLAN: Field = option("plan", "implementationPlan", Takes::Text, "What will be done");
const BACKOUT: Field = option("backout", "backoutPlan", Takes::Text, "How it is taken back");
const TEST: Field = option("test", "testPlan", Takes::Text, "How it is known to work");
const SERVICES: Field = option("service", "serviceIds", Takes::Many(Kind::Service), "A service affected");
const ITEMS: Field = option("ci", "ciIds", Takes::Many(Kind::Ci), "A configuration item affected");
const TEAM: Field = option("team", "assignedTeamId", Takes::One(Kind::Team), "The team that carries it out");

/// The addition, modification or removal of anything that could affect services.
pub const CHANGE: Noun = Noun {
    name: "change",
    about: "Changes: what will be altered, who agreed, and how it went",
    examples: "Examples:
  itsm change create \"New pool size\" --type normal --risk minor --team payments --service checkout \\
      --reason \"too few connections\" --plan \"raise to 40, reload\" --backout \"lower to 20, reload\"
  itsm change request CHG0000017
  itsm change approve CHG0000017 --note \"after 22:00\"
  itsm change schedule CHG0000017 --start '2026-11-24 22:00' --end '2026-11-24 23:00'
  itsm change complete CHG0000017 --notes \"as planned\"",
    path: "changes",
    list_field: "changes",
    record_field: "change",
    handle: Handle::Number { prefix: "CHG" },
    filters: "state, type, risk, service_id, ci_id, assigned_team_id, requester_id, number",
    columns: &[
        column("number", "number", Shown::Text),
        column("type", "type", Shown::Word),
        column("state", "state", Shown::Word),
        column("risk", "risk", Shown::Word),
        column("title", "title", Shown::Text),
        column("team", "assignedTeamId", Shown::Of(Kind::Team)),
        column("requester", "requesterId", Shown::Of(Kind::Person)),
        column("planned", "plannedStartTime", Shown::Time),
    ],
    particulars: &[
        column("until", "plannedEndTime", Shown::Time),
        column("started", "actualStartTime", Shown::Time),
        column("ended", "actualEndTime", Shown::Time),
        column("approved by", "approval.approverId", Shown::Of(Kind::Person)),
        column("approved", "approval.approveTime", Shown::Time),
        column("approver's note", "approval.note", Shown::Text),
        column("reason", "reason", Shown::Text),
        column("plan", "implementationPlan", Shown::Text),
        column("back-out", "backoutPlan", Shown::Text),
        column("test", "testPlan", Shown::Text),
        column("services", "serviceIds", Shown::AllOf(Kind::Service)),
        column("items", "ciIds", Shown::AllOf(Kind::Ci)),
        column("outcome", "outcomeNotes", Shown::Text),
        column("review", "reviewNotes", Shown::Text),
        column("description", "description", Shown::Text),
        column("closed", "closeTime", Shown::Time),
        column("created", "createTime", Shown::Time),
        column("id", "id", Shown::Text),
        column("revision", "revision", Shown::Text),
    ],
    verbs: &[
        LIST,
        SHOW_WITH_STORY,
        verb(
            "create",
            "Drafts one",
            Does::Create(Answer::Record),
            &[
                positional("title", "title", Takes::Text, "One line"),
                required("type", "type", Takes::Word(TYPES), "How it is authorised"),
                DESCRIPTION,
                RISK,
                REASON,
                PLAN,
                BACKOUT,
                TEST,
                SERVICES,
                ITEMS,
                TEAM,
            ],
        ),
        verb(
            "update",
            "Changes what is given; an approval of the old plan is void",
            Does::Update,
            &[
                option("title", "title", Takes::Text, "One line"),
                DESCRIPTION,
                RISK,
                REASON,
                PLAN,
                BACKOUT,
                TEST,
                SERVICES,
                ITEMS,
                TEAM,
            ],
        ),
        act("request", "Asks for approval", &[]),
        act("approve", "Approves it, unless it is your own", &[option("note", "note", Takes::Text, "What you say")]),
        act("reject", "Refuses it", &[required("reason", "reason", Takes::Text, "Why")]),
        act(
            "schedule",
            "Sets its time",
            &[
                required("start", "plannedStartTime", Takes::Time, "When it shall start"),
                required("end", "plannedEndTime", Takes::Time, "When it shall be over"),
            ],
        ),
        act("start", "Says that it is being carried out", &[]),
        act(
            "complete",
            "Says that it was done as planned",
            &[option("notes", "outcomeNotes", Takes::Text, "What came of it")],
        ),
        act(
            "fail",
            "Says that it was not done as planned",
            &[required("notes", "outcomeNotes", Takes::Text, "What came of it")],
        ),
        act("close", "Ends it after its review", &[option("notes", "reviewNotes", Takes::Text, "What was learnt")]),
        act("cancel", "Gives it up", &[required("reason", "reason", Takes::Text, "Why")]),
        WATCH,
        HISTORY,
    ],
    nested: &[],
};
