//! How the provisioner reaches NATS: by credentials in operator mode, or plainly where the server
//! is somebody else's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use tokio::sync::watch;

use super::authority::Authority;
use super::rights;
use crate::{embedded::binaries::check_nats_version, wiring::PROVISIONER};

/// Which NATS, and whether its accounts are ours.
#[derive(Clone, Debug)]
pub enum Access {
    /// The embedded server, or another that trusts our operator.
    Operator {
        /// Where it listens.
        url: String,
        /// Whose keys it trusts.
        authority: Arc<Authority>,
        /// Where the provisioner's certificates are, if the server asks for one.
        certificates: Option<PathBuf>,
    },
    /// A server of somebody else: no accounts, one user for everything.
    Plain {
        /// Where it listens; may hold user and password.
        url: String,
        /// Where the provisioner's certificates are, if the server asks for one.
        certificates: Option<PathBuf>,
    },
}

/// A client, and how often it has been connected.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The client; it reconnects by itself, for ever.
    pub client: Client,
    /// Rises with every connect, the first one included.
    pub connects: watch::Receiver<u64>,
}

/// Connects as one of the internal users, whose client answers to its own inbox only.
pub async fn connect(access: &Access, user: &str) -> anyhow::Result<Connection> {
    let (sender, connects) = watch::channel(0_u64);
    let name = format!("itsm {user}");
    let mut options = ConnectOptions::new()
        .name(&name)
        .connection_timeout(Duration::from_secs(5))
        .request_timeout(Some(Duration::from_secs(5)))
        .reconnect_delay_callback(|attempts| Duration::from_millis((10 << attempts.min(6)).min(1_000)))
        .event_callback(move |event| {
            match &event {
                Event::Connected => sender.send_modify(|connects| *connects += 1),
                // A denied subject only shows here: its caller waits until the timeout.
                Event::ServerError(error) => tracing::error!(client = name, %error, "NATS refused"),
                Event::Disconnected => tracing::warn!(client = name, "NATS is away"),
                other => tracing::debug!(client = name, %other, "NATS"),
            }
            std::future::ready(())
        });
    let address = match access {
        Access::Operator { url, authority, .. } => {
            let path = authority.credentials_path(user);
            options = options
                .custom_inbox_prefix(rights::inbox_prefix(user))
                .credentials_file(&path)
                .await
                .with_context(|| format!("cannot use the credentials in {}", path.display()))?;
            url.parse::<ServerAddr>()
        }
        Access::Plain { url, .. } => url.parse(),
    }
    .with_context(|| "the URL of NATS is not one".to_owned())?;
    let (Access::Operator { certificates, .. } | Access::Plain { certificates, .. }) = access;
    options = kit::bus::with_certificates(options, certificates.as_deref(), PROVISIONER);
    // The client ignores what stands before the host.
    if let Some(user) = address.username() {
        let password = address.password().unwrap_or_default();
        options = options.user_and_password(decode_percent(user), decode_percent(password));
    }
    let whose = format!("the NATS server at {}:{}", address.host(), address.port());
    let client = options.connect(address).await.with_context(|| format!("cannot reach {whose}"))?;
    check_nats_version(&client.server_info().version, &whose)?;
    if !client.server_info().jetstream {
        bail!("{whose} has no JetStream; start it with JetStream on");
    }
    Ok(Connection { client, connects })
}

fn decode_percent(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_decoded() {
        assert_eq!(decode_percent("p%40ss%3a%"), "p@ss:%");
        assert_eq!(decode_percent("100%zz%C3%A4"), "100%zzä");
    }
}
