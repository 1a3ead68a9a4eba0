//! Services and what they are made of.

use super::{super::noun::*, IMPACTS};

const KINDS: &[&str] = &["business", "technical"];
const NAME: Field = positional("name", "name", Takes::Text, "A short name, [a-z0-9._-]; alerts find it by this");
const DISPLAY_NAME: Field =
    option("display-name", "displayName", Takes::Text, "The name people read; the short name if left out");
const DESCRIPTION: Field = option("description", "description", Takes::Text, "What it is");
const OWNER: Field = option("owner", "owningTeamId", Takes::One(Kind::Team), "The team that answers for it");
const SUPPORT: Field =
    option("support", "supportTeamId", Takes::One(Kind::Team), "The team that gets its incidents; else the owner");
const ACTIVATE: Verb = act("activate", "Puts it into use again", &[]);
const RETIRE: Verb = act("retire", "Takes it out of use", &[]);

/// Something a customer knows by name.
pub const SERVICE: Noun = Noun {
    name: "service",
    about: "Services: what the business knows by name",
    examples: "Examples:
  itsm service create checkout --impact extensive --owner payments
  itsm service list --filter 'state = \"LIVE\"'
  itsm service retire checkout",
    path: "services",
    list_field: "services",
    record_field: "service",
    handle: Handle::Name { shown: "name", filter: "name" },
    filters: "state, kind, name, owning_team_id, support_team_id",
    columns: &[
        column("name", "name", Shown::Text),
        column("display name", "displayName", Shown::Text),
        column("kind", "kind", Shown::Word),
        column("impact", "impact", Shown::Word),
        column("state", "state", Shown::Word),
        column("owner", "owningTeamId", Shown::Of(Kind::Team)),
        column("support", "supportTeamId", Shown::Of(Kind::Team)),
    ],
    particulars: &[
        column("description", "description", Shown::Text),
        column("created", "createTime", Shown::Time),
        column("id", "id", Shown::Text),
        column("revision", "revision", Shown::Text),
    ],
    verbs: &[
        LIST,
        SHOW_WITH_STORY,
        verb(
            "create",
            "Adds one",
            Does::Create(Answer::Record),
            &[
                NAME,
                DISPLAY_NAME,
                DESCRIPTION,
                option_or("kind", "kind", Takes::Word(KINDS), "business", "Of the business, or behind it"),
                required("impact", "impact", Takes::Word(IMPACTS), "How much business its failure hurts"),
                OWNER,
                SUPPORT,
            ],
        ),
        ACTIVATE,
        RETIRE,
        WATCH,
        HISTORY,
    ],
    nested: &[],
};

/// Something that a service is made of.
pub const CI: Noun = Noun {
    name: "ci",
    about: "Configuration items: what services are made of",
    examples: "Examples:
  itsm ci create db1 --kind database --service checkout --owner payments
  itsm ci list --filter 'kind = \"database\"'",
    path: "configurationItems",
    list_field: "configurationItems",
    record_field: "configurationItem",
    handle: Handle::Name { shown: "name", filter: "name" },
    filters: "state, kind, name, service_id, owning_team_id, support_team_id",
    columns: &[
        column("name", "name", Shown::Text),
        column("display name", "displayName", Shown::Text),
        column("kind", "kind", Shown::Text),
        column("service", "serviceId", Shown::Of(Kind::Service)),
        column("state", "state", Shown::Word),
        column("owner", "owningTeamId", Shown::Of(Kind::Team)),
        column("support", "supportTeamId", Shown::Of(Kind::Team)),
    ],
    particulars: &[
        column("description", "description", Shown::Text),
        column("created", "createTime", Shown::Time),
        column("id", "id", Shown::Text),
        column("revision", "revision", Shown::Text),
    ],
    verbs: &[
        LIST,
        SHOW_WITH_STORY,
        verb(
            "create",
            "Adds one",
            Does::Create(Answer::Record),
            &[
                NAME,
                DISPLAY_NAME,
                DESCRIPTION,
                required("kind", "kind", Takes::Text, "What it is, such as `host` or `database`"),
                option("service", "serviceId", Takes::One(Kind::Service), "The service it is part of"),
                OWNER,
                SUPPORT,
            ],
        ),
        ACTIVATE,
        RETIRE,
        WATCH,
        HISTORY,
    ],
    nested: &[],
};
