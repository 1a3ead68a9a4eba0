//! What is wrong with one alert, before it is known where in the body the alert stands.

use crate::Refused;

/// The field of one alert that makes it unusable. `detail` goes on after the field's name, and
/// shows nothing of the value.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) field: String,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    pub(crate) size_limit: bool,
}

impl Fault {
    pub(crate) fn new(field: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { field: field.into(), code, detail: detail.into(), size_limit: false }
    }

    pub(crate) fn wrong_type(field: &str, expected: &str) -> Self {
        Self::new(field, "WRONG_TYPE", format!("must be {expected}"))
    }

    pub(crate) fn missing(field: &str) -> Self {
        Self::new(field, "MISSING_FIELD", "is missing")
    }

    pub(crate) fn too_large(field: impl Into<String>, code: &'static str, limit: usize, unit: &str) -> Self {
        Self { field: field.into(), code, detail: format!("has more than {limit} {unit}"), size_limit: true }
    }

    /// The same fault seen from one level further out.
    pub(crate) fn under(mut self, parent: &str) -> Self {
        self.field = join(parent, &self.field);
        self
    }

    /// The same fault where it stands in the envelope of the whole body.
    pub(crate) fn of_body(self) -> Refused {
        let field = if self.field.is_empty() { "body".to_owned() } else { self.field };
        Refused::Unusable { field, detail: self.detail, code: self.code, size_limit: self.size_limit }
    }
}

/// A path of two parts, either of which may be empty.
pub(crate) fn join(parent: &str, field: &str) -> String {
    match (parent.is_empty(), field.is_empty()) {
        (true, _) => field.to_owned(),
        (false, true) => parent.to_owned(),
        (false, false) => format!("{parent}.{field}"),
    }
}
