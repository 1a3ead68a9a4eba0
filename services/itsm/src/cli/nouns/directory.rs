//! People, teams and keys.

use super::super::noun::*;

const PERSON_KINDS: &[&str] = &["human", "service-account"];
const ROLES: &[&str] = &["viewer", "responder", "manager"];
const WITH_KEY: Answer = Answer::WithSecret { record: "apiKey", secret: "key" };

/// Someone who acts.
pub const PERSON: Noun = Noun {
    name: "person",
    about: "People and service accounts",
    examples: "Examples:
  itsm person create \"Ada Okafor\" --email ada@example.com --time-zone Europe/London
  itsm person create deployer --kind service-account
  itsm person deactivate ada@example.com",
    path: "people",
    list_field: "people",
    record_field: "person",
    handle: Handle::Name { shown: "displayName", filter: "email" },
    filters: "state, kind, administrator, email",
    columns: &[
        column("id", "id", Shown::Id),
        column("name", "displayName", Shown::Text),
        column("email", "email", Shown::Text),
        column("kind", "kind", Shown::Word),
        column("administrator", "administrator", Shown::Flag),
        column("state", "state", Shown::Word),
    ],
    particulars: &[
        column("time zone", "timeZone", Shown::Text),
        column("created", "createTime", Shown::Time),
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
                option("email", "email", Takes::Text, "The mail address"),
                option_or("kind", "kind", Takes::Word(PERSON_KINDS), "human", "A human being or a program"),
                option("time-zone", "timeZone", Takes::Text, "An IANA time zone; UTC when left out"),
                option("administrator", "administrator", Takes::Flag, "Administers the tenant"),
            ],
        ),
        act("deactivate", "Refuses their keys; history stays", &[]),
        act("reactivate", "Lets them take part again", &[]),
        HISTORY,
    ],
    nested: &[],
};

/// People who share work.
pub const TEAM: Noun = Noun {
    name: "team",
    about: "Teams and their members",
    examples: "Examples:
  itsm team create payments --display-name Payments
  itsm team member add payments ada@example.com --role responder
  itsm team member list --filter 'state = \"ACTIVE\"'
  itsm team member end payments ada@example.com",
    path: "teams",
    list_field: "teams",
    record_field: "team",
    handle: Handle::Name { shown: "name", filter: "name" },
    filters: "state, name",
    columns: &[
        column("name", "name", Shown::Text),
        column("display name", "displayName", Shown::Text),
        column("state", "state", Shown::Word),
        column("description", "description", Shown::Text),
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
            "Adds one",
            Does::Create(Answer::Record),
            &[
                positional("name", "name", Takes::Text, "A short name, [a-z0-9-]"),
                option("display-name", "displayName", Takes::Text, "The name people read; the short name if left out"),
                option("description", "description", Takes::Text, "What it does"),
            ],
        ),
        act("retire", "Dissolves it; history stays", &[]),
        HISTORY,
    ],
    nested: &[&MEMBER],
};

/// A person's role in a team.
const MEMBER: Noun = Noun {
    name: "member",
    about: "Who is in a team, and as what",
    examples: "",
    path: "memberships",
    list_field: "memberships",
    record_field: "membership",
    handle: Handle::Id,
    filters: "team_id, person_id, state, role",
    columns: &[
        column("team", "teamId", Shown::Of(Kind::Team)),
        column("person", "personId", Shown::Of(Kind::Person)),
        column("role", "role", Shown::Word),
        column("state", "state", Shown::Word),
        column("since", "createTime", Shown::Time),
    ],
    particulars: &[],
    verbs: &[
        LIST,
        verb(
            "add",
            "Takes a person into a team",
            Does::Create(Answer::Record),
            &[
                positional("team", "teamId", Takes::One(Kind::Team), "The team"),
                positional("person", "personId", Takes::One(Kind::Person), "The person"),
                required("role", "role", Takes::Word(ROLES), "As what"),
            ],
        ),
        verb(
            "end",
            "Ends a membership",
            Does::Special(Special::EndMembership),
            &[
                positional("team", "", Takes::One(Kind::Team), "The team"),
                positional("person", "", Takes::One(Kind::Person), "The person"),
            ],
        ),
    ],
    nested: &[],
};

/// A credential.
pub const KEY: Noun = Noun {
    name: "key",
    about: "API keys",
    examples: "Examples:
  itsm key whoami
  itsm key create \"laptop\" --person ada@example.com --expires +90d
  itsm key create \"dashboards\" --person deployer --scope '*.read'
  itsm key revoke 4f1c09aa",
    path: "apiKeys",
    list_field: "apiKeys",
    record_field: "apiKey",
    handle: Handle::Id,
    filters: "person_id, active",
    columns: &[
        column("id", "id", Shown::Id),
        column("person", "personId", Shown::Of(Kind::Person)),
        column("for", "displayName", Shown::Text),
        column("begins with", "hint", Shown::Text),
        column("scopes", "scopes", Shown::List),
        column("created", "createTime", Shown::Time),
        column("expires", "expireTime", Shown::Time),
        column("revoked", "revokeTime", Shown::Time),
    ],
    particulars: &[],
    verbs: &[
        LIST,
        verb(
            "create",
            "Makes one; it is shown this once",
            Does::Create(WITH_KEY),
            &[
                positional("for", "displayName", Takes::Text, "What it is for"),
                option_or("person", "personId", Takes::One(Kind::Person), "me", "Whose it is"),
                option("scope", "scopes", Takes::Texts, "A permission it may use, such as 'incident.*' or '*.read'"),
                option("expires", "expireTime", Takes::Time, "When it stops working, such as +90d"),
            ],
        ),
        act("revoke", "Refuses it from now on", &[]),
        verb("whoami", "Says whose key this is and what it may do", Does::Special(Special::WhoAmI), &[]),
    ],
    nested: &[],
};
