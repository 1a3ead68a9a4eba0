//! Whether the public port answers that everything is ready: asked as any prober asks.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context;
use kit::{clock::pause, service::Readiness};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use super::progress::Progress;

const POLL: Duration = Duration::from_millis(10);
/// How often a person is told what is waited for.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// Waits until everything is ready and the port says so.
///
/// # Errors
/// Fails when the port does not speak.
pub async fn wait(gateway: &gateway::Running, readiness: &Readiness, progress: &Progress) -> anyhow::Result<()> {
    let mut tell_at = Instant::now() + TOLD_EVERY;
    loop {
        let waiting = readiness.waiting();
        // Whoever has the certificate's name asks by TLS; here the port's being open is enough.
        if waiting.is_empty() && (gateway.tls || answers(reachable(gateway.address)).await?) {
            return Ok(());
        }
        if Instant::now() > tell_at {
            tell_at = Instant::now() + TOLD_EVERY;
            let list: Vec<String> = waiting.iter().map(|(part, reason)| format!("{part}: {reason}")).collect();
            progress.say(&format!("waiting for {}", list.join("; ")));
        }
        pause(POLL).await;
    }
}

/// An address that listens on all is reached by loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

async fn answers(address: SocketAddr) -> anyhow::Result<bool> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("cannot reach {address}"))?;
    stream
        .write_all(format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}
