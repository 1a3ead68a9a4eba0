//! Which addresses webhooks may reach. Judged when a URL is saved, when it is used, and again for
//! every address that a name resolves to at the moment of connecting; literals are judged as
//! addresses, however they are written.

use std::{
    collections::HashSet,
    error::Error as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use futures::future::BoxFuture;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// The ports that webhooks may use unless listed otherwise.
const PORTS: [u16; 4] = [443, 8443, 80, 8080];
const LONGEST: usize = 2_000;

/// Why an address may not be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Not a URL.
    #[error("must be an absolute URL such as https://example.com/hook")]
    Malformed,
    /// Too long.
    #[error("must have at most {LONGEST} characters")]
    TooLong,
    /// Neither https, nor http where listed.
    #[error("must begin with https://; http only where notification.webhook_allow lists host and port")]
    Scheme,
    /// User or password.
    #[error("must not hold a user name or password")]
    UserInfo,
    /// Another port.
    #[error("port {0} is not allowed; use 443, 8443, 80 or 8080, or have it listed in notification.webhook_allow")]
    Port(u16),
    /// A special address.
    #[error("leads to a {0} address, which only notification.webhook_allow can permit")]
    Address(&'static str),
    /// A name without addresses.
    #[error("its name has no address")]
    NoAddress,
}

/// What the settings permit beyond the public internet.
#[derive(Debug, Clone, Default)]
pub struct AllowList {
    networks: Vec<(IpAddr, u8)>,
    endpoints: HashSet<(String, u16)>,
}

impl AllowList {
    /// Reads the entries of the settings.
    ///
    /// # Errors
    /// The entry that is neither a network nor `host:port`.
    pub fn read(entries: &[String]) -> Result<Self, String> {
        let mut list = Self::default();
        for entry in entries {
            if let Some((address, length)) = entry.split_once('/') {
                let network = address.parse::<IpAddr>().ok().zip(length.parse::<u8>().ok());
                let network = network.filter(|(address, length)| *length <= if address.is_ipv4() { 32 } else { 128 });
                list.networks.push(network.ok_or_else(|| entry.clone())?);
            } else {
                // The URL parser makes of a host what it makes of one in a webhook's URL.
                let url = Url::parse(&format!("http://{entry}/")).map_err(|_| entry.clone())?;
                let port = entry.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
                let host = url.host_str().map(str::to_owned);
                let plain = url.path() == "/" && url.username().is_empty() && url.query().is_none();
                list.endpoints.insert(host.zip(port).filter(|_| plain).ok_or_else(|| entry.clone())?);
            }
        }
        Ok(list)
    }

    fn holds(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|(network, length)| match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                shared(network.to_bits().into(), address.to_bits().into(), length + 96)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => shared(network.to_bits(), address.to_bits(), *length),
            _ => false,
        })
    }

    /// Judges an address.
    ///
    /// # Errors
    /// What kind of special address it is.
    pub fn judge(&self, address: IpAddr) -> Result<(), Forbidden> {
        if self.holds(address) { Ok(()) } else { special(address).map_or(Ok(()), |kind| Err(Forbidden::Address(kind))) }
    }
}

/// Whether two addresses agree in their first bits.
fn shared(one: u128, other: u128, length: u8) -> bool {
    length == 0 || (one ^ other) >> (128 - length.min(128)) == 0
}

const V4: &[(Ipv4Addr, u8, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "unspecified"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared (carrier)"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// Exceptions to "what begins with 2000::/3 is public".
const V6: &[(Ipv6Addr, u8, &str)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "reserved"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
];

/// What kind of special address it is, if one. A v4 address inside a v6 one is judged itself.
fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => {
            let bits = u128::from(address.to_bits());
            V4.iter()
                .find(|(network, length, _)| shared(network.to_bits().into(), bits, length + 96))
                .map(|(.., kind)| *kind)
        }
        IpAddr::V6(address) => {
            let within = |network: Ipv6Addr, length| shared(network.to_bits(), address.to_bits(), length);
            #[expect(clippy::cast_possible_truncation, reason = "the last 32 bits are the v4 address")]
            let inner = Ipv4Addr::from_bits(address.to_bits() as u32);
            if within(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96)
                || within(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96)
            {
                return special(inner.into());
            }
            if address.is_multicast() {
                return Some("multicast");
            }
            if !within(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3) {
                return Some(if address.is_loopback() {
                    "loopback"
                } else if address.is_unspecified() {
                    "unspecified"
                } else if within(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10) {
                    "link-local"
                } else if within(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7) {
                    "private"
                } else {
                    "reserved"
                });
            }
            V6.iter().find(|(network, length, _)| within(*network, *length)).map(|(.., kind)| *kind)
        }
    }
}

/// A URL that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The URL, normalised.
    pub url: Url,
    /// Whether the settings list it, so that its name may lead anywhere.
    pub listed: bool,
}

impl Target {
    /// Host and port, the unit of the concurrency limit.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}:{}", self.url.host_str().unwrap_or_default(), self.url.port_or_known_default().unwrap_or_default())
    }
}

/// Judges a webhook's URL as far as that is possible before connecting.
///
/// # Errors
/// What is not allowed about it.
pub fn check_url(text: &str, allow: &AllowList) -> Result<Target, Forbidden> {
    if text.chars().count() > LONGEST {
        return Err(Forbidden::TooLong);
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Forbidden::Malformed);
    }
    let url = Url::parse(text).map_err(|_| Forbidden::Malformed)?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(Forbidden::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Forbidden::UserInfo);
    }
    let host = url.host_str().ok_or(Forbidden::Malformed)?.to_owned();
    let port = url.port_or_known_default().ok_or(Forbidden::Malformed)?;
    let literal: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let listed = allow.endpoints.contains(&(host, port)) || literal.is_some_and(|address| allow.holds(address));
    let target = Target { url, listed };
    if listed {
        return Ok(target);
    }
    if let Some(address) = literal {
        allow.judge(address)?;
    }
    if target.url.scheme() != "https" {
        return Err(Forbidden::Scheme);
    }
    if !PORTS.contains(&port) {
        return Err(Forbidden::Port(port));
    }
    Ok(target)
}

/// How names are looked up; a test puts its own answers in.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The system's own lookup.
#[must_use]
pub fn system_lookup() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }))
}

/// Resolves names at the moment of connecting, and gives out nothing unless every address that a
/// name has may be reached.
#[derive(Clone)]
pub struct JudgingResolver {
    allow: Arc<AllowList>,
    lookup: Lookup,
}

impl JudgingResolver {
    /// A resolver that judges by this list.
    #[must_use]
    pub fn new(allow: Arc<AllowList>, lookup: Lookup) -> Self {
        Self { allow, lookup }
    }
}

impl Resolve for JudgingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let addresses = (this.lookup)(name.as_str().to_owned()).await?;
            if addresses.is_empty() {
                return Err(Forbidden::NoAddress.into());
            }
            for address in &addresses {
                this.allow.judge(address.ip())?;
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The judgement inside an error of the HTTP client, if that is what it was.
#[must_use]
pub fn forbidden(error: &reqwest::Error) -> Option<Forbidden> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(forbidden) = inner.downcast_ref::<Forbidden>() {
            return Some(forbidden.clone());
        }
        source = inner.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str, entries: &[&str]) -> Result<Target, Forbidden> {
        let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
        check_url(text, &AllowList::read(&entries).unwrap())
    }

    #[test]
    fn literals_are_judged_however_they_are_written() {
        let table = [
            ("127.0.0.1", "loopback"),
            ("127.1", "loopback"),
            ("2130706433", "loopback"),
            ("0x7f.1", "loopback"),
            ("0x7f000001", "loopback"),
            ("0177.0.0.1", "loopback"),
            ("127.0.0.1.", "loopback"),
            ("１２７.0.0.1", "loopback"),
            ("[::1]", "loopback"),
            ("[0:0:0:0:0:0:0:1]", "loopback"),
            ("[::ffff:127.0.0.1]", "loopback"),
            ("[::ffff:7f00:1]", "loopback"),
            ("0", "unspecified"),
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("[::]", "unspecified"),
            ("10.0.0.1", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("3232235777", "private"),
            ("[fd00::1]", "private"),
            ("[64:ff9b::10.0.0.1]", "private"),
            ("[::ffff:192.168.0.1]", "private"),
            ("169.254.169.254", "link-local"),
            ("0xa9fea9fe", "link-local"),
            ("[fe80::1]", "link-local"),
            ("[::ffff:a9fe:a9fe]", "link-local"),
            ("[64:ff9b::a9fe:a9fe]", "link-local"),
            ("100.64.0.1", "shared (carrier)"),
            ("[2002:7f00:1::]", "6to4"),
            ("[2001::1]", "reserved"),
            ("[2001:db8::1]", "documentation"),
            ("[::127.0.0.1]", "reserved"),
            ("[64:ff9b:1::1]", "reserved"),
            ("[ff02::1]", "multicast"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "reserved"),
            ("198.18.0.1", "benchmarking"),
            ("192.0.2.1", "documentation"),
        ];
        for (host, kind) in table {
            assert_eq!(judged(&format!("https://{host}/hook"), &[]), Err(Forbidden::Address(kind)), "{host}");
        }
        for host in [
            "8.8.8.8",
            "134744072",
            "172.32.0.1",
            "100.128.0.1",
            "[2606:4700::1111]",
            "[::ffff:8.8.8.8]",
            "[64:ff9b::808:808]",
        ] {
            assert!(judged(&format!("https://{host}/hook"), &[]).is_ok(), "{host}");
        }
    }

    #[test]
    fn a_url_is_plain_https_on_a_known_port() {
        let table = [
            ("http://example.com/", Forbidden::Scheme),
            ("ftp://example.com/", Forbidden::Scheme),
            ("file:///etc/passwd", Forbidden::Scheme),
            ("https://user@example.com/", Forbidden::UserInfo),
            ("https://:secret@example.com/", Forbidden::UserInfo),
            ("https://example.com:22/", Forbidden::Port(22)),
            ("https://example.com:5432/", Forbidden::Port(5432)),
            ("example.com/hook", Forbidden::Malformed),
            ("https://", Forbidden::Malformed),
            ("https://exa mple.com/", Forbidden::Malformed),
            ("https://example.com/\r\nHost: x", Forbidden::Malformed),
            ("https://256.256.256.256/", Forbidden::Malformed),
        ];
        for (text, expected) in table {
            assert_eq!(judged(text, &[]), Err(expected), "{text}");
        }
        assert_eq!(judged(&format!("https://example.com/{}", "x".repeat(2_000)), &[]), Err(Forbidden::TooLong));
        for text in ["https://example.com/hook?x=1", "https://example.com:8443/", "https://EXAMPLE.com."] {
            assert!(judged(text, &[]).is_ok(), "{text}");
        }
        assert_eq!(judged("https://bücher.example/", &[]).unwrap().url.as_str(), "https://xn--bcher-kva.example/");
        assert_eq!(judged("https://example.com/", &[]).unwrap().endpoint(), "example.com:443");
    }

    #[test]
    fn what_is_listed_is_allowed_and_nothing_beside_it() {
        let endpoint = ["127.0.0.1:9999", "hooks.internal:8000"];
        assert!(judged("http://127.0.0.1:9999/", &endpoint).unwrap().listed);
        assert!(judged("http://2130706433:9999/", &endpoint).unwrap().listed);
        assert!(judged("http://HOOKS.internal:8000/x", &endpoint).unwrap().listed);
        assert_eq!(judged("http://127.0.0.1:9998/", &endpoint), Err(Forbidden::Address("loopback")));
        assert_eq!(judged("http://hooks.internal:8001/", &endpoint), Err(Forbidden::Scheme));
        assert!(judged("http://10.1.2.3:7777/", &["10.1.0.0/16"]).unwrap().listed);
        assert_eq!(judged("https://10.2.2.3/", &["10.1.0.0/16"]), Err(Forbidden::Address("private")));
        assert!(judged("https://[fd00:1::2]/", &["fd00:1::/32"]).unwrap().listed);
        for entry in ["10.0.0.0/33", "host", "10.0.0.0/x", "host:99999", "a/b:1", "user@host:80"] {
            assert!(AllowList::read(&[entry.to_owned()]).is_err(), "{entry}");
        }
    }

    async fn resolved(addresses: &'static [&'static str], entries: &[&str]) -> Result<usize, String> {
        let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
        let lookup: Lookup = Arc::new(move |_| {
            Box::pin(
                async move { Ok(addresses.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()) },
            )
        });
        let resolver = JudgingResolver::new(Arc::new(AllowList::read(&entries).unwrap()), lookup);
        let answer = resolver.resolve("example.com".parse().unwrap()).await;
        answer.map(Iterator::count).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_name_is_judged_by_all_its_addresses_when_connecting() {
        assert_eq!(resolved(&["93.184.216.34", "2606:4700::1111"], &[]).await, Ok(2));
        assert!(resolved(&["93.184.216.34", "127.0.0.1"], &[]).await.unwrap_err().contains("loopback"));
        assert!(resolved(&["::ffff:169.254.169.254"], &[]).await.unwrap_err().contains("link-local"));
        assert!(resolved(&[], &[]).await.is_err());
        assert_eq!(resolved(&["10.1.0.9"], &["10.1.0.0/16"]).await, Ok(1));
    }
}
