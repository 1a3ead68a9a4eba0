//! The gateway's settings, and which of them must not go together.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Settings of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The address of the one public port.
    pub listen: SocketAddr,
    /// The certificate chain in PEM; with `tls_key`, the port speaks TLS.
    pub tls_cert: Option<PathBuf>,
    /// The key of the certificate in PEM.
    pub tls_key: Option<PathBuf>,
    /// Whether a proxy in front ends TLS, so that an address beyond loopback may go without.
    pub behind_proxy: bool,
    /// How many connections are held at once; more wait.
    pub connections: usize,
    /// How many requests are answered at once; more are refused with 503.
    pub requests: usize,
    /// How many streams are open at once; more are refused. A service takes 200 calls at a time
    /// from one gateway, so streams must leave room for the others.
    pub streams: usize,
    /// How many calls of one tenant are worked on at once; more wait in line. A service has 8
    /// connections for calls to its database, so more than that makes nothing faster.
    pub calls_per_tenant: usize,
    /// How many calls of one tenant wait in line; more are refused with 429.
    pub waiting_per_tenant: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls_cert: None,
            tls_key: None,
            behind_proxy: false,
            connections: 4_096,
            requests: 2_048,
            streams: 128,
            calls_per_tenant: 8,
            waiting_per_tenant: 128,
        }
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Credentials would travel in the clear.
    #[error(
        "{0} is reachable from outside, and credentials would travel in the clear: give a certificate and its key, or \
         say that a proxy in front ends TLS (behind_proxy), or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    /// One half of a pair.
    #[error("a certificate needs its key and a key its certificate: give both tls_cert and tls_key, or none")]
    HalfTls,
    /// A limit of nothing.
    #[error("`{0}` must be at least 1")]
    Zero(&'static str),
}

impl Settings {
    /// Checks what no single field can say.
    ///
    /// # Errors
    /// Says which settings do not go together, and what would.
    pub fn check(&self) -> Result<(), Error> {
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(Error::HalfTls);
        }
        if !self.listen.ip().is_loopback() && self.tls_cert.is_none() && !self.behind_proxy {
            return Err(Error::Open(self.listen));
        }
        let limits = [
            ("connections", self.connections),
            ("requests", self.requests),
            ("streams", self.streams),
            ("calls_per_tenant", self.calls_per_tenant),
        ];
        match limits.into_iter().find(|(_, limit)| *limit == 0) {
            Some((name, _)) => Err(Error::Zero(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_address_needs_tls_or_a_proxy() {
        let open = Settings { listen: SocketAddr::from(([0, 0, 0, 0], 8080)), ..Settings::default() };
        assert_eq!(open.check(), Err(Error::Open(open.listen)));
        assert_eq!(Settings { behind_proxy: true, ..open.clone() }.check(), Ok(()));
        let tls = Settings { tls_cert: Some("cert".into()), tls_key: Some("key".into()), ..open.clone() };
        assert_eq!(tls.check(), Ok(()));
        assert_eq!(Settings { tls_key: None, ..tls }.check(), Err(Error::HalfTls));
        assert_eq!(Settings::default().check(), Ok(()));
        let six = Settings { listen: SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 1)), ..Settings::default() };
        assert_eq!(six.check(), Ok(()));
    }
}
