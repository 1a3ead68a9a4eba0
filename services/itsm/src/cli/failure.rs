//! Why a command failed, what is told about it, and with which exit code. It must not print.

use std::fmt;

use serde_json::Value;

/// The exit codes, as every help page says them.
pub const EXIT_CODES: &str = "Exit codes:
  0  done
  1  refused by the server; the reason and the fields are printed
  2  wrong usage
  3  server not reachable or not ready
  4  not authenticated, or not allowed
  5  not found";

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The server said no.
    Refused(Box<Problem>),
    /// The server does not know the caller, or does not let them.
    Denied(Box<Problem>),
    /// There is no such record.
    NotFound(Box<Problem>),
    /// The command makes no sense as it was given.
    Usage(String),
    /// No answer.
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// Nobody reads the output any more.
    ReaderGone,
}

/// What the server said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable reason.
    pub reason: String,
    /// One sentence.
    pub detail: String,
    /// Fields, and what is wrong with each.
    pub fields: Vec<(String, String)>,
    /// What does not hold, and what would be legal.
    pub conditions: Vec<String>,
    /// What else was said.
    pub metadata: Vec<(String, String)>,
    /// To be named when asking for help.
    pub request_id: String,
}

impl Problem {
    /// Reads a problem+json body; anything else becomes its detail.
    pub fn read(status: u16, body: &str) -> Self {
        let Ok(Value::Object(json)) = serde_json::from_str::<Value>(body) else {
            let detail = body.chars().take(500).collect::<String>().trim().to_owned();
            return Self { status, reason: format!("HTTP_{status}"), detail, ..Self::default() };
        };
        let text = |object: &serde_json::Map<String, Value>, name: &str| {
            object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let objects = |name: &str| {
            let items = json.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
            items.into_iter().filter_map(|item| item.as_object().cloned()).collect::<Vec<_>>()
        };
        let reason = text(&json, "reason");
        Self {
            status,
            reason: if reason.is_empty() { format!("HTTP_{status}") } else { reason },
            detail: text(&json, "detail"),
            fields: objects("fieldViolations").iter().map(|v| (text(v, "field"), text(v, "description"))).collect(),
            conditions: objects("preconditionViolations").iter().map(|v| text(v, "description")).collect(),
            metadata: match json.get("metadata") {
                Some(Value::Object(said)) => said.keys().map(|name| (name.clone(), text(said, name))).collect(),
                _ => Vec::new(),
            },
            request_id: text(&json, "requestId"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        for (field, description) in &self.fields {
            if format!("{field}: {description}") != self.detail && *description != self.detail {
                write!(f, "\n  {field}: {description}")?;
            }
        }
        for condition in self.conditions.iter().filter(|condition| **condition != self.detail) {
            write!(f, "\n  {condition}")?;
        }
        for (name, value) in &self.metadata {
            write!(f, "\n  {}: {value}", name.replace('_', " "))?;
        }
        if !self.request_id.is_empty() && self.status >= 500 {
            write!(f, "\n  request {}", self.request_id)?;
        }
        Ok(())
    }
}

impl Failure {
    /// What the server's answer means.
    pub fn of_answer(url: &str, status: u16, body: &str) -> Self {
        let problem = Box::new(Problem::read(status, body));
        match status {
            401 | 403 => Self::Denied(problem),
            404 => Self::NotFound(problem),
            502..=504 => Self::Unreachable { url: url.to_owned(), why: problem.to_string() },
            _ => Self::Refused(problem),
        }
    }

    /// No record goes by this name.
    pub fn no_such(word: &str, name: &str) -> Self {
        let detail = format!("there is no {word} `{name}`");
        let problem = Problem { status: 404, reason: "NOT_FOUND".to_owned(), detail, ..Problem::default() };
        Self::NotFound(Box::new(problem))
    }

    /// There is no key to ask with.
    pub fn no_key(reason: &str, detail: &str) -> Self {
        let (reason, detail) = (reason.to_owned(), detail.to_owned());
        Self::Denied(Box::new(Problem { status: 401, reason, detail, ..Problem::default() }))
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::ReaderGone => 0,
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::Denied(_) => 4,
            Self::NotFound(_) => 5,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(problem) => write!(f, "refused: {problem}"),
            Self::Denied(problem) if problem.status == 401 => write!(f, "not authenticated: {problem}"),
            Self::Denied(problem) => write!(f, "not allowed: {problem}"),
            Self::NotFound(problem) => write!(f, "not found: {problem}"),
            Self::Usage(why) => write!(f, "{why}"),
            Self::Unreachable { url, why } => write!(f, "no answer from {url}: {why}"),
            Self::ReaderGone => write!(f, "nobody reads the output"),
        }
    }
}

impl std::error::Error for Failure {}
