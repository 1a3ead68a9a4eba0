//! Accounts and users on a running server: added, changed, revoked and removed without a restart.
//!
//! Every change is kept on disk before it is pushed, and everything is pushed again at start and
//! after each reconnect, because the server takes any claims that come last: it checks neither
//! their age nor who signed them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::Deserialize;

use super::authority::{Authority, Locked, OutsideConsumer, slug};
use super::connection::{Access, Connection, connect};
use super::rights;
use crate::embedded::folder::make_folder;

const UPDATE: &str = "$SYS.REQ.CLAIMS.UPDATE";
const DELETE: &str = "$SYS.REQ.CLAIMS.DELETE";

/// What a user of a tenant is for; there is at most one user for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Publishes the alerts of one integration.
    Publisher(String),
    /// Reads the tenant's events.
    Reader,
    /// Reads a durable consumer.
    Consumer(String),
}

impl Purpose {
    fn key(&self) -> String {
        match self {
            Self::Publisher(integration) => format!("publisher/{integration}"),
            Self::Reader => "reader".to_owned(),
            Self::Consumer(name) => format!("consumer/{name}"),
        }
    }
}

/// The one that changes accounts on the server.
#[derive(Clone, Debug)]
pub struct Accounts {
    authority: Arc<Authority>,
    system: Connection,
}

#[derive(Deserialize)]
struct Answer {
    data: Option<Outcome>,
    error: Option<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    code: u16,
    #[serde(default, alias = "description")]
    message: String,
}

impl Accounts {
    /// Connects as the system user.
    ///
    /// # Errors
    /// Fails when the server is away. Nothing where the accounts are not ours.
    pub async fn connect(access: &Access) -> anyhow::Result<Option<Self>> {
        let Access::Operator { authority, .. } = access else { return Ok(None) };
        let system = connect(access, "system").await?;
        Ok(Some(Self { authority: Arc::clone(authority), system }))
    }

    /// The keys behind it.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// How often the server was reached: after each rise, everything has to be pushed again.
    pub fn connects(&self) -> tokio::sync::watch::Receiver<u64> {
        self.system.connects.clone()
    }

    /// Tells the server every account as it has to be; returns how many.
    pub async fn push_all(&self) -> anyhow::Result<usize> {
        let locked = self.authority.lock().await?;
        let accounts = self.authority.accounts(&locked.state)?;
        let count = accounts.len();
        for account in accounts {
            self.order(UPDATE, account).await?;
        }
        Ok(count)
    }

    /// Makes sure that a tenant has an account; false when it had.
    pub async fn ensure_tenant(&self, tenant: &str) -> anyhow::Result<bool> {
        if self.authority.state()?.tenants().any(|known| known == tenant) {
            return Ok(false);
        }
        let mut locked = self.authority.lock().await?;
        let added = self.authority.add_tenant(&mut locked, tenant)?;
        self.settle(&locked, tenant).await?;
        Ok(added)
    }

    /// Takes a tenant's account away: its users are cut off at once and do not get in again, also
    /// not when the tenant returns.
    #[cfg_attr(not(test), expect(dead_code, reason = "no command ends a tenant or a publisher yet"))]
    pub async fn remove_tenant(&self, tenant: &str) -> anyhow::Result<()> {
        let mut locked = self.authority.lock().await?;
        let order = self.authority.remove_tenant(&mut locked, tenant)?;
        self.authority.save(&locked)?;
        self.order(DELETE, order).await
    }

    /// Writes credentials that may publish the alerts of one integration and nothing else.
    pub async fn issue_publisher(&self, tenant: &str, integration: &str, path: &Path) -> anyhow::Result<()> {
        let rights = rights::of_publisher(slug(tenant)?, slug(integration)?);
        let purpose = Purpose::Publisher(integration.to_owned());
        self.issue(tenant, &purpose, &rights, path).await
    }

    /// Writes credentials that may read a tenant's events, and returns where.
    pub async fn issue_reader(&self, tenant: &str) -> anyhow::Result<PathBuf> {
        let path = self.tenant_folder(tenant)?.join("reader.creds");
        self.issue(tenant, &Purpose::Reader, &rights::of_reader(tenant), &path).await?;
        Ok(path)
    }

    /// Lets a client of the tenant use a durable consumer, and returns its credentials. The
    /// consumer itself is made by the next round of the reconciler, or by
    /// [`super::streams::ensure_outside_consumer`].
    pub async fn issue_consumer(&self, consumer: &OutsideConsumer) -> anyhow::Result<PathBuf> {
        let path = self.tenant_folder(&consumer.tenant)?.join(format!("consumer-{}.creds", consumer.name));
        let rights = rights::of_consumer(&consumer.stream(), &consumer.durable());
        let purpose = Purpose::Consumer(consumer.name.clone());
        let mut locked = self.authority.lock().await?;
        self.authority.add_consumer(&mut locked, consumer)?;
        self.authority.issue_tenant_user(&mut locked, &consumer.tenant, &purpose.key(), &rights, &path)?;
        self.settle(&locked, &consumer.tenant).await?;
        Ok(path)
    }

    /// Cuts a user off at once, and for ever: whoever needs access again gets a new key.
    /// False when there is no such user.
    #[cfg_attr(not(test), expect(dead_code, reason = "no command ends a tenant or a publisher yet"))]
    pub async fn revoke(&self, tenant: &str, purpose: &Purpose) -> anyhow::Result<bool> {
        let mut locked = self.authority.lock().await?;
        if !self.authority.revoke_tenant_user(&mut locked, tenant, &purpose.key()) {
            return Ok(false);
        }
        self.settle(&locked, tenant).await?;
        Ok(true)
    }

    async fn issue(
        &self,
        tenant: &str,
        purpose: &Purpose,
        rights: &super::claims::Rights,
        path: &Path,
    ) -> anyhow::Result<()> {
        let mut locked = self.authority.lock().await?;
        let before = locked.state.clone();
        self.authority.issue_tenant_user(&mut locked, tenant, &purpose.key(), rights, path)?;
        if locked.state == before {
            return Ok(());
        }
        self.settle(&locked, tenant).await
    }

    async fn settle(&self, locked: &Locked, tenant: &str) -> anyhow::Result<()> {
        self.authority.save(locked)?;
        self.order(UPDATE, self.authority.tenant_account(&locked.state, tenant)?).await
    }

    async fn order(&self, subject: &'static str, token: String) -> anyhow::Result<()> {
        let reply = self.system.client.request(subject, token.into()).await;
        let reply = reply.context("the system account of NATS does not answer")?;
        let answer: Answer = serde_json::from_slice(&reply.payload).context("NATS answered something unknown")?;
        match (answer.data, answer.error) {
            (Some(outcome), None) if outcome.code == 200 => Ok(()),
            (Some(outcome), _) | (None, Some(outcome)) => {
                bail!("NATS refused an account: {} ({})", outcome.message, outcome.code)
            }
            (None, None) => bail!("NATS answered neither yes nor no"),
        }
    }

    fn tenant_folder(&self, tenant: &str) -> anyhow::Result<PathBuf> {
        let folder = self.authority.tenant_credentials_folder(slug(tenant)?);
        make_folder(&folder, 0o700)?;
        Ok(folder)
    }
}
