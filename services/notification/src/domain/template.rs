//! The text of a message. Whether it renders is found out elsewhere, when it is saved.

use chrono::{DateTime, Utc};
use kit::decide::{self, Revised};

use super::TemplateId;

/// The text of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The id.
    pub id: TemplateId,
    /// Counts the changes.
    pub revision: i64,
    /// The short name.
    pub name: String,
    /// The name people read.
    pub display_name: String,
    /// The template of the subject line.
    pub subject: String,
    /// The template of the text.
    pub body: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl Revised for Template {
    fn revision_mut(&mut self) -> &mut i64 {
        &mut self.revision
    }
}

/// What happened to a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateWhat {
    /// It was created.
    Created,
    /// It was changed.
    Changed,
}

/// The outcome of a verb on a template.
pub type Decision = decide::Decision<Template, TemplateWhat>;

/// What an update changes; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct Update {
    /// The name people read.
    pub display_name: Option<String>,
    /// The template of the subject line.
    pub subject: Option<String>,
    /// The template of the text.
    pub body: Option<String>,
}

impl Template {
    /// Creates a template.
    pub fn create(
        id: TemplateId,
        name: String,
        display_name: String,
        subject: String,
        body: String,
        now: DateTime<Utc>,
    ) -> Decision {
        let template = Self { id, revision: 0, name, display_name, subject, body, created_at: now, updated_at: now };
        Decision::of(template, TemplateWhat::Created)
    }

    /// Changes fields.
    pub fn update(&self, update: Update, now: DateTime<Utc>) -> Decision {
        let next = Self {
            display_name: update.display_name.unwrap_or_else(|| self.display_name.clone()),
            subject: update.subject.unwrap_or_else(|| self.subject.clone()),
            body: update.body.unwrap_or_else(|| self.body.clone()),
            ..self.clone()
        };
        if next == *self {
            return Decision::unchanged(next);
        }
        Decision::of(Self { updated_at: now.max(self.updated_at), ..next }, TemplateWhat::Changed)
    }
}
