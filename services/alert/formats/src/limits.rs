//! Every limit of the intake. A body or an alert at its limit is fine; beyond it is not.

/// Bytes of a body.
pub const BODY_BYTES: usize = 1024 * 1024;
/// Arrays and objects inside each other, the outermost counted as one.
pub const NESTING_DEPTH: usize = 32;
/// Alerts in a body.
pub const ALERTS: usize = 1_000;
/// Labels of an alert.
pub const LABELS: usize = 100;
/// Annotations of an alert.
pub const ANNOTATIONS: usize = 100;
/// Bytes of the name of a label or an annotation.
pub const NAME_BYTES: usize = 256;
/// Bytes of a label's value.
pub const LABEL_VALUE_BYTES: usize = 4 * 1024;
/// Bytes of an annotation's value, of a description and of a link.
pub const ANNOTATION_VALUE_BYTES: usize = 16 * 1024;
/// Bytes of a dedup key or a group key; a longer one is replaced by its hash.
pub const KEY_BYTES: usize = 512;
/// Bytes of a title; a longer one is cut, because what it came from is kept beside it.
pub const TITLE_BYTES: usize = 1024;
/// Bytes of a rejected alert that are kept; a longer one is cut.
pub const REJECTED_BYTES: usize = 16 * 1024;
/// `ce-` headers of one event.
pub const EVENT_ATTRIBUTES: usize = 100;
