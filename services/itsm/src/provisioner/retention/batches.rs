//! Records that ended long ago, and rows that belong to nothing, in small batches: each its own
//! transaction, bounded, with a pause after it in which others get their turn.

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use kit::{
    clock::pause,
    retention::{Leftovers, Records, Retention},
};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{Round, periods};
use crate::provisioner::partitions::first_id;

const BATCH: i64 = 500;
const PAUSE: Duration = Duration::from_millis(20);
/// How long answers are kept.
const ANSWERS: TimeDelta = TimeDelta::hours(24);

/// Whether a rule is for the row's tenant, and no hold for the row: `$3` to `$6`.
fn unless_held(held_by: &str) -> String {
    format!(
        "coalesce(r.tenant_id = any ($3), false) <> $4 and not coalesce(r.tenant_id = any ($5), false)
         and not ({held_by}) && $6::uuid[]"
    )
}

impl Round<'_> {
    /// Deletes records that ended before their period, with what belongs to them alone. Their
    /// journals stay for now.
    pub(super) async fn records(&mut self, schema: &str, says: &Retention) -> anyhow::Result<()> {
        for records in says.records {
            for rule in periods::rules(self.retention, &self.tenants, records.class, self.now)? {
                let mut after = Some(Uuid::nil());
                while let (Some(last), false) = (after, self.stop.is_cancelled()) {
                    after = self.records_after(schema, records, &rule, last).await.context(records.table)?;
                    pause(PAUSE).await;
                }
            }
        }
        Ok(())
    }

    /// One batch, in order of id; says after which the next begins.
    async fn records_after(
        &mut self,
        schema: &str,
        records: &Records,
        rule: &periods::Rule,
        last: Uuid,
    ) -> anyhow::Result<Option<Uuid>> {
        let Records { table, ended_at, held_by, with, .. } = records;
        let mut tx = self.begin(schema).await?;
        // What ended before an instant was made before it, so the key bounds what is looked at. A
        // record that still has events without a number waits.
        let query = format!(
            "select r.id, r.tenant_id from {table} r
             where r.id > $7 and r.id < $2 and ({ended_at}) < $1 and {}
                and not exists (select from {schema}.outbox o where o.record_id = r.id)
             order by r.id limit {BATCH} for update of r skip locked",
            unless_held(held_by)
        );
        let found = sqlx::query_as(AssertSqlSafe(query))
            .bind(rule.before)
            .bind(first_id(rule.before))
            .bind(&rule.tenants)
            .bind(rule.others)
            .bind(&self.holds.tenants)
            .bind(&self.holds.records)
            .bind(last);
        let found: Vec<(Uuid, Uuid)> = found.fetch_all(&mut *tx).await?;
        let (ids, tenants): (Vec<Uuid>, Vec<Uuid>) = found.into_iter().unzip();
        if ids.is_empty() {
            return Ok(None);
        }
        let timers = format!("delete from {schema}.timer where record_id = any ($1)");
        let itself = format!("delete from {table} where id = any ($1)");
        for statement in with.iter().copied().chain([timers.as_str(), itself.as_str()]) {
            sqlx::query(AssertSqlSafe(statement)).bind(&ids).execute(&mut *tx).await?;
        }
        let mark = format!(
            "insert into {schema}.pruned (record_id, tenant_id, at)
             select p.id, p.tenant, $3 from unnest($1::uuid[], $2::uuid[]) as p (id, tenant)"
        );
        sqlx::query(AssertSqlSafe(mark)).bind(&ids).bind(&tenants).bind(self.now).execute(&mut *tx).await?;
        tx.commit().await?;
        self.report.records += u64::try_from(ids.len()).unwrap_or_default();
        let full = i64::try_from(ids.len()).is_ok_and(|count| count == BATCH);
        Ok(ids.last().copied().filter(|_| full))
    }

    /// Deletes rows that have no journal and are past.
    pub(super) async fn leftovers(&mut self, schema: &str, says: &Retention) -> anyhow::Result<()> {
        for Leftovers { class, table, over, held_by } in says.leftovers {
            for rule in periods::rules(self.retention, &self.tenants, class, self.now)? {
                let statement = format!(
                    "delete from {table} where ctid = any (array (
                        select r.ctid from {table} r
                        where $1::timestamptz is not null and $2::uuid is not null and ({over}) and {}
                        limit {BATCH} for update of r skip locked))",
                    unless_held(held_by)
                );
                while !self.stop.is_cancelled() {
                    let mut tx = self.begin(schema).await?;
                    let done = sqlx::query(AssertSqlSafe(statement.as_str()))
                        .bind(rule.before)
                        .bind(first_id(rule.before))
                        .bind(&rule.tenants)
                        .bind(rule.others)
                        .bind(&self.holds.tenants)
                        .bind(&self.holds.records)
                        .execute(&mut *tx)
                        .await
                        .context(*table)?;
                    tx.commit().await?;
                    self.report.rows += done.rows_affected();
                    if done.rows_affected() < BATCH.unsigned_abs() {
                        break;
                    }
                    pause(PAUSE).await;
                }
            }
        }
        Ok(())
    }

    /// Deletes kept answers, counted tries and events set aside, each past its time.
    pub(super) async fn event_path(&mut self, schema: &str) -> anyhow::Result<()> {
        self.aged(schema, "request", self.now - ANSWERS, "true").await?;
        // What was tried so long ago the feed of its source no longer has.
        self.aged(schema, "attempt", self.now - self.retention.feeds_at_most.delta(), "true").await?;
        let unheld = "not r.tenant_id = any ($2) and not r.record_id = any ($3)";
        self.aged(schema, "dead_letter", self.now - self.retention.dead_letters.delta(), unheld).await
    }

    async fn aged(&mut self, schema: &str, table: &str, before: DateTime<Utc>, only: &str) -> anyhow::Result<()> {
        let statement = format!(
            "delete from {schema}.{table} where ctid = any (array (
                select r.ctid from {schema}.{table} r
                where r.at < $1 and {only} and $2::uuid[] is not null and $3::uuid[] is not null
                limit {BATCH} for update of r skip locked))"
        );
        while !self.stop.is_cancelled() {
            let mut tx = self.begin(schema).await?;
            let done = sqlx::query(AssertSqlSafe(statement.as_str()))
                .bind(before)
                .bind(&self.holds.tenants)
                .bind(&self.holds.records)
                .execute(&mut *tx)
                .await
                .with_context(|| format!("{schema}.{table}"))?;
            tx.commit().await?;
            self.report.rows += done.rows_affected();
            if done.rows_affected() < BATCH.unsigned_abs() {
                return Ok(());
            }
            pause(PAUSE).await;
        }
        Ok(())
    }
}
