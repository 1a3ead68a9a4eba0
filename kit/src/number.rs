//! The numbers that people say, such as `INC0001042`: unique, roughly rising, not gapless. A process
//! reserves blocks in a short transaction of its own, because a counter row held through commit
//! would put all commits in a row.

use std::{collections::HashMap, ops::Range};

use sqlx::AssertSqlSafe;
use tokio::sync::Mutex;

use crate::{db::Database, id::TenantId};

const BLOCK: i64 = 32;

/// Hands out numbers of one kind.
#[derive(Debug)]
pub struct Numbers {
    database: Database,
    prefix: &'static str,
    blocks: Mutex<HashMap<TenantId, Range<i64>>>,
}

impl Numbers {
    /// Numbers with a prefix, such as `INC`.
    #[must_use]
    pub fn new(database: Database, prefix: &'static str) -> Self {
        Self { database, prefix, blocks: Mutex::default() }
    }

    /// The next number of a tenant.
    ///
    /// # Errors
    /// Fails when the database is away.
    pub async fn next(&self, tenant: TenantId) -> Result<String, sqlx::Error> {
        let mut blocks = self.blocks.lock().await;
        let block = blocks.entry(tenant).or_insert(0..0);
        let number = match block.next() {
            Some(number) => number,
            None => {
                let mut tx = self.database.begin(tenant).await?;
                let statement = format!(
                    "insert into {}.number as n (tenant_id, prefix, next) values ($1, $2, 1 + {BLOCK})
                     on conflict (tenant_id, prefix) do update set next = n.next + {BLOCK} returning next",
                    self.database.schema
                );
                let end: i64 = sqlx::query_scalar(AssertSqlSafe(statement))
                    .bind(tenant.0)
                    .bind(self.prefix)
                    .fetch_one(tx.connection())
                    .await?;
                tx.commit().await?;
                *block = end - BLOCK + 1..end;
                end - BLOCK
            }
        };
        Ok(format!("{}{number:07}", self.prefix))
    }
}
