//! What a service says about how long its things are needed: the one place where a class of
//! records is named. It is data; only the owner of the schema prunes, so the provisioner does, and
//! no service may delete a record.
//!
//! All SQL here speaks of a row `r` of its table.

/// Records of one class, each with its journal.
#[derive(Debug)]
pub struct Records {
    /// The class, as in the settings: `incidents`.
    pub class: &'static str,
    /// The table; its key is the UUIDv7 `id`.
    pub table: &'static str,
    /// When `r` ended; null while it is still needed, whatever its age.
    pub ended_at: &'static str,
    /// The ids, as `uuid[]`, a hold on any of which keeps `r`.
    pub held_by: &'static str,
    /// Statements that delete what belongs to the records `$1` alone and has no journal.
    pub with: &'static [&'static str],
}

/// Rows without a journal that are deleted in small batches.
#[derive(Debug)]
pub struct Leftovers {
    /// The class whose period counts.
    pub class: &'static str,
    /// The table.
    pub table: &'static str,
    /// Whether `r` may go: `$1` is the instant before which it must be over, `$2` the least id that
    /// could be drawn then.
    pub over: &'static str,
    /// The ids, as `uuid[]`, a hold on any of which keeps `r`.
    pub held_by: &'static str,
}

/// The length of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slice {
    /// A month of a UUIDv7.
    Month,
    /// A day of a time.
    Day,
}

/// A partitioned table whose partitions go by age alone.
#[derive(Debug)]
pub struct Slices {
    /// The class, as in the settings: `raw_alerts`.
    pub class: &'static str,
    /// The table, without its schema.
    pub table: &'static str,
    /// How it is partitioned.
    pub by: Slice,
    /// The ids, as `uuid[]`, a hold on any of which keeps `r`.
    pub held_by: &'static str,
}

/// All that a service says.
#[derive(Debug)]
pub struct Retention {
    /// Its records.
    pub records: &'static [Records],
    /// Other rows.
    pub leftovers: &'static [Leftovers],
    /// Tables that go by whole partitions.
    pub slices: &'static [Slices],
    /// The ids of other services' records that a hold on the records `$1` keeps too.
    pub held_too: Option<&'static str>,
}

impl Retention {
    /// Nothing ends: records are retired and stay.
    pub const NOTHING: Self = Self { records: &[], leftovers: &[], slices: &[], held_too: None };
}
