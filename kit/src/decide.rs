//! What a domain verb returns: the record afterwards and what happened, or nothing changed.
//! Only a service's `store::commit` opens it, so nothing is saved without its events.

/// The outcome of a domain verb.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a decision takes effect only when it is committed"]
pub struct Decision<R, W> {
    record: R,
    steps: Vec<Step<R, W>>,
}

/// One thing that happened and the record right after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step<R, W> {
    /// The record afterwards, with its new revision.
    pub record: R,
    /// What happened.
    pub what: W,
}

/// A record that counts its changes.
pub trait Revised {
    /// The revision; 0 before the first commit.
    fn revision_mut(&mut self) -> &mut i64;
}

impl<R: Revised + Clone, W> Decision<R, W> {
    /// Nothing is to be done: the effect already holds.
    pub fn unchanged(record: R) -> Self {
        Self { record, steps: Vec::new() }
    }

    /// One thing happened.
    pub fn of(record: R, what: W) -> Self {
        Self::unchanged(record.clone()).then(record, what)
    }

    /// And then another, which left the record like this. The revision counts on by itself.
    pub fn then(mut self, mut record: R, what: W) -> Self {
        let revision = *self.record.revision_mut();
        *record.revision_mut() = revision + 1;
        self.record = record.clone();
        self.steps.push(Step { record, what });
        self
    }

    /// The record as it is after all of it.
    pub fn record(&self) -> &R {
        &self.record
    }

    /// Whether nothing happened.
    pub fn is_unchanged(&self) -> bool {
        self.steps.is_empty()
    }

    /// What happened, in order; for tests and for `commit`.
    pub fn steps(&self) -> &[Step<R, W>] {
        &self.steps
    }

    /// Takes it apart, to save it; called by `store::commit` alone (a test sees to that).
    pub fn open(self) -> (R, Vec<Step<R, W>>) {
        (self.record, self.steps)
    }
}
