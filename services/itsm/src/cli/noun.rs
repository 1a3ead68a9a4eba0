//! What a noun of the command line is: a collection of the API, its columns and its verbs, as data.
//! Every noun is driven by the same code; a noun must not bring code of its own.

/// A kind of record that people handle.
#[derive(Debug)]
pub struct Noun {
    /// The word.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// Examples, shown below the help.
    pub examples: &'static str,
    /// The collection, below `/v1/`.
    pub path: &'static str,
    /// The field of a list's answer that holds the records.
    pub list_field: &'static str,
    /// The field of an event that holds the record.
    pub record_field: &'static str,
    /// How people name one.
    pub handle: Handle,
    /// What its lists can be filtered by; empty where they cannot.
    pub filters: &'static str,
    /// The columns of a list.
    pub columns: &'static [Column],
    /// What `show` says besides the columns.
    pub particulars: &'static [Column],
    /// What can be done.
    pub verbs: &'static [Verb],
    /// Nouns that belong to it.
    pub nested: &'static [&'static Noun],
}

/// How people name a record, besides its id and the end of its id.
#[derive(Debug, Clone, Copy)]
pub enum Handle {
    /// By a number that the server takes wherever it takes an id.
    Number {
        /// What numbers begin with.
        prefix: &'static str,
    },
    /// By a field that lists are filtered by; the field's value is what people see.
    Name {
        /// The field in JSON.
        shown: &'static str,
        /// The field in a filter.
        filter: &'static str,
    },
    /// By nothing else.
    Id,
}

/// A column of a table, or a line of a record.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// The heading.
    pub title: &'static str,
    /// Where the value is, as a dotted path.
    pub path: &'static str,
    /// How it is shown.
    pub shown: Shown,
}

/// How a value is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The end of an id, as long as needed to tell the rows apart.
    Id,
    /// As it is.
    Text,
    /// The beginning of it, on one line.
    Line,
    /// A word of the contract, in lower case and in a colour that says how it stands.
    Word,
    /// An instant, with how long ago.
    Time,
    /// A number of seconds.
    Seconds,
    /// Yes, or nothing.
    Flag,
    /// The name of another record.
    Of(Kind),
    /// The names of several.
    AllOf(Kind),
    /// Several words.
    List,
    /// Names with values.
    Pairs,
    /// The time that a clock has counted, of its target.
    Progress,
    /// The targets of an agreement.
    Targets,
}

/// A record that others point at, and whose name people want to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A person.
    Person,
    /// A team.
    Team,
    /// A business service.
    Service,
    /// A configuration item.
    Ci,
    /// A source of alerts.
    Integration,
    /// An agreement.
    Agreement,
    /// A calendar.
    Calendar,
    /// An alert.
    Alert,
}

/// Something that can be done with a noun.
#[derive(Debug)]
pub struct Verb {
    /// The word.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// What it does.
    pub does: Does,
    /// What it takes.
    pub fields: &'static [Field],
}

/// What a verb does.
#[derive(Debug, Clone, Copy)]
pub enum Does {
    /// `GET` of the collection, page by page.
    List,
    /// The same of another collection, which has no verbs of its own.
    ListOf(&'static Noun),
    /// `GET` of one record, and what belongs to it.
    Show(&'static [Also]),
    /// `POST` to the collection.
    Create(Answer),
    /// `PATCH` of what was given, on the revision read just before.
    Update,
    /// `POST` of a verb of the record.
    Act(&'static str, Answer),
    /// The stream of events.
    Watch,
    /// The events of one record.
    History,
    /// What no other noun does.
    Special(Special),
}

/// What an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The record.
    Record,
    /// The record in one field, and a secret that is shown this once in another.
    WithSecret {
        /// The field of the record.
        record: &'static str,
        /// The field of the secret.
        secret: &'static str,
    },
}

/// What `show` adds to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Also {
    /// The clocks of an incident.
    Clocks,
    /// Who was told about it.
    Deliveries,
    /// Its history.
    Story,
}

/// What only one noun does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Posts an alert as a source would.
    SendAlert,
    /// Clears an alert by hand, or as its source would.
    ClearAlert,
    /// Says whose key this is.
    WhoAmI,
    /// Sends a test message by every way of a person.
    TestPerson,
    /// Ends a membership that is named by team and person.
    EndMembership,
}

/// What a verb takes.
#[derive(Debug)]
pub struct Field {
    /// The option's name; that of the value where it is positional.
    pub name: &'static str,
    /// Where it goes in the body, as a dotted path; empty where the verb itself uses it.
    pub json: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// Whether it must be given.
    pub need: Need,
    /// What is taken when it is not given; empty for nothing.
    pub default: &'static str,
    /// One line of help.
    pub help: &'static str,
}

/// What a field takes.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// Any text.
    Text,
    /// A secret, which this variable of the environment may hold.
    Secret(&'static str),
    /// One of these words of the contract.
    Word(&'static [&'static str]),
    /// Some of these words.
    Words(&'static [&'static str]),
    /// A record, by name or id.
    One(Kind),
    /// Several records.
    Many(Kind),
    /// An instant.
    Time,
    /// A length of time.
    Seconds,
    /// Yes when given.
    Flag,
    /// Several texts.
    Texts,
    /// Names with values.
    Pairs,
    /// Targets of an agreement.
    Targets,
    /// A file.
    File,
}

/// Whether a field must be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// By its place.
    Positional,
    /// By its place, or left out.
    OptionalPositional,
    /// As an option.
    Required,
    /// As an option, or left out.
    Optional,
}

/// A column.
pub const fn column(title: &'static str, path: &'static str, shown: Shown) -> Column {
    Column { title, path, shown }
}

/// A field that is given by its place.
pub const fn positional(name: &'static str, json: &'static str, takes: Takes, help: &'static str) -> Field {
    Field { name, json, takes, default: "", need: Need::Positional, help }
}

/// An option that must be given.
pub const fn required(name: &'static str, json: &'static str, takes: Takes, help: &'static str) -> Field {
    Field { name, json, takes, default: "", need: Need::Required, help }
}

/// An option.
pub const fn option(name: &'static str, json: &'static str, takes: Takes, help: &'static str) -> Field {
    Field { name, json, takes, default: "", need: Need::Optional, help }
}

/// An option with a value of its own.
pub const fn option_or(
    name: &'static str,
    json: &'static str,
    takes: Takes,
    default: &'static str,
    help: &'static str,
) -> Field {
    Field { name, json, takes, default, need: Need::Optional, help }
}

/// A field that is given by its place, or left out.
pub const fn optional_positional(name: &'static str, json: &'static str, takes: Takes, help: &'static str) -> Field {
    Field { name, json, takes, default: "", need: Need::OptionalPositional, help }
}

/// A verb.
pub const fn verb(name: &'static str, about: &'static str, does: Does, fields: &'static [Field]) -> Verb {
    Verb { name, about, does, fields }
}

/// A verb of a record that is called as in the API.
pub const fn act(name: &'static str, about: &'static str, fields: &'static [Field]) -> Verb {
    Verb { name, about, does: Does::Act(name, Answer::Record), fields }
}

/// `list`.
pub const LIST: Verb = verb("list", "Lists them, newest first", Does::List, &[]);
/// `show` of a record alone.
pub const SHOW: Verb = verb("show", "Shows one", Does::Show(&[]), &[]);
/// `show` of a record and its history.
pub const SHOW_WITH_STORY: Verb = verb("show", "Shows one and its history", Does::Show(&[Also::Story]), &[]);
/// `watch`.
pub const WATCH: Verb = verb("watch", "Follows every event, and goes on after a disconnect", Does::Watch, &[]);
/// `history`.
pub const HISTORY: Verb = verb("history", "Tells what happened to one, oldest first", Does::History, &[]);

impl Noun {
    /// A verb by its word.
    pub fn verb(&self, name: &str) -> Option<&'static Verb> {
        self.verbs.iter().find(|verb| verb.name == name)
    }
}

impl Kind {
    /// The collection, below `/v1/`.
    pub fn path(self) -> &'static str {
        match self {
            Self::Person => "people",
            Self::Team => "teams",
            Self::Service => "services",
            Self::Ci => "configurationItems",
            Self::Integration => "integrations",
            Self::Agreement => "agreements",
            Self::Calendar => "calendars",
            Self::Alert => "alerts",
        }
    }

    /// The field that holds what people call it.
    pub fn name_field(self) -> &'static str {
        match self {
            Self::Person | Self::Agreement => "displayName",
            Self::Team | Self::Service | Self::Ci | Self::Integration | Self::Calendar => "name",
            Self::Alert => "title",
        }
    }

    /// The field by which a list finds one exactly, if any.
    pub fn filter_field(self) -> Option<&'static str> {
        match self {
            Self::Person => Some("email"),
            Self::Team | Self::Service | Self::Ci | Self::Integration | Self::Calendar => Some("name"),
            Self::Agreement | Self::Alert => None,
        }
    }

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Team => "team",
            Self::Service => "service",
            Self::Ci => "configuration item",
            Self::Integration => "integration",
            Self::Agreement => "agreement",
            Self::Calendar => "calendar",
            Self::Alert => "alert",
        }
    }
}
