//! The private servers of a single node: the data folder, and Postgres and nats-server as watched
//! children inside it.
//!
//! Nothing here knows a table, a stream or a tenant, and nothing here touches a server that it did
//! not start itself. What the servers are told to hold is the provisioner's business.

pub mod binaries;
pub mod child;
pub mod folder;
pub mod nats;
pub mod postgres;
pub mod unprivileged;

#[cfg(test)]
mod tests;

/// Between two looks at a server that tells nobody when it is ready or gone. Every loop that uses
/// it has a deadline.
#[expect(clippy::disallowed_methods, reason = "another process's state can only be looked at again")]
async fn pause(duration: std::time::Duration) {
    tokio::time::sleep(duration).await;
}
