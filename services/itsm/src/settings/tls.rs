//! How calls between services over TCP are kept from others, and that none goes without.

use std::path::PathBuf;

use http::Uri;
use serde::{Deserialize, Serialize};

use super::Services;

/// How calls between services over TCP are kept from others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// A folder with `ca.crt` and, of each service that this process runs, `<service>.crt` and
    /// `<service>.key`. With it, whoever listens on TCP speaks mutual TLS, and addresses begin with
    /// `https://`.
    pub certificates_folder: Option<PathBuf>,
    /// Whether something between the services encrypts, so that addresses beyond loopback may go
    /// without certificates.
    pub mesh_encrypts: bool,
}

/// Calls that others could read, or that nobody would answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Anyone between could read along.
    #[error(
        "`services.{section}.{name}` is beyond loopback, where calls need certificates: name their folder \
         (`tls.certificates_folder`), or say that a mesh encrypts (`tls.mesh_encrypts`)"
    )]
    Open {
        /// `listen` or `addresses`.
        section: &'static str,
        /// The service.
        name: String,
    },
    /// There is nothing to show to who listens there.
    #[error("`services.addresses.{0}` begins with https://, which needs `tls.certificates_folder`")]
    NoCertificates(String),
    /// Who listens there waits for a certificate.
    #[error("`services.addresses.{0}` must begin with https://, since `tls.certificates_folder` names certificates")]
    NotShown(String),
}

impl Tls {
    /// Whether every address is kept from others.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check(&self, services: &Services) -> Result<(), Error> {
        let open = |section, name: &String| Err(Error::Open { section, name: name.clone() });
        let shown = self.certificates_folder.is_some();
        for (name, address) in &services.listen {
            if !address.ip().is_loopback() && !shown && !self.mesh_encrypts {
                return open("listen", name);
            }
        }
        for (name, address) in &services.addresses {
            match address.split_once("://").map(|(scheme, _)| scheme) {
                Some("https") if !shown => return Err(Error::NoCertificates(name.clone())),
                Some("http") if shown => return Err(Error::NotShown(name.clone())),
                Some("http") if !on_loopback(address) && !self.mesh_encrypts => return open("addresses", name),
                _ => {}
            }
        }
        Ok(())
    }
}

fn on_loopback(address: &str) -> bool {
    let Ok(address) = address.parse::<Uri>() else { return false };
    let host = address.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(tls: &str, services: &str) -> Result<(), Error> {
        let tls: Tls = toml::from_str(tls).unwrap();
        tls.check(&toml::from_str(services).unwrap())
    }

    #[test]
    fn beyond_loopback_calls_are_encrypted() {
        let open = |section| Err(Error::Open { section, name: "sla".to_owned() });
        let beyond = "listen.sla = '0.0.0.0:9100'";
        assert_eq!(checked("", beyond), open("listen"));
        assert_eq!(checked("mesh_encrypts = true", beyond), Ok(()));
        assert_eq!(checked("certificates_folder = '/c'", beyond), Ok(()));
        assert_eq!(checked("", "listen.sla = '127.0.0.1:9100'"), Ok(()));
        assert_eq!(checked("", "listen.sla = '[::1]:9100'"), Ok(()));
        for host in ["sla", "10.0.0.1", "[fd00::1]", "localhost.example"] {
            let away = format!("addresses.sla = 'http://{host}:9100'");
            assert_eq!(checked("", &away), open("addresses"), "{host}");
            assert_eq!(checked("mesh_encrypts = true", &away), Ok(()), "{host}");
        }
        for near in ["http://127.0.0.1:9100", "http://[::1]:9100", "http://localhost:9100", "unix:/run/sla.sock"] {
            assert_eq!(checked("", &format!("addresses.sla = '{near}'")), Ok(()), "{near}");
        }
    }

    #[test]
    fn certificates_and_addresses_go_together() {
        let sla = || "sla".to_owned();
        let by_tls = "addresses.sla = 'https://sla:9100'";
        assert_eq!(checked("", by_tls), Err(Error::NoCertificates(sla())));
        assert_eq!(checked("mesh_encrypts = true", by_tls), Err(Error::NoCertificates(sla())));
        assert_eq!(checked("certificates_folder = '/c'", by_tls), Ok(()));
        assert_eq!(
            checked("certificates_folder = '/c'", "addresses.sla = 'http://[::1]:1'"),
            Err(Error::NotShown(sla()))
        );
        assert_eq!(checked("certificates_folder = '/c'", "addresses.sla = 'unix:/run/sla.sock'"), Ok(()));
    }
}
