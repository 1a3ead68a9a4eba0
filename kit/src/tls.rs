//! Mutual TLS between services over TCP: who listens shows a certificate with its own name, and who
//! calls shows one with a name that may call here.
//!
//! The name is a DNS name that is a service's. Others, such as a cluster gives its addresses, may
//! stand beside it and say nothing here: whoever calls wants the service, wherever it lives. The
//! files are read again every few seconds, so new ones count for new connections without a restart.

use std::{
    fs, io,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt as _, future::ready};
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{Resumption, danger::HandshakeSignatureValid},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem, pem::PemObject as _},
    server::{
        NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::server::Connected;
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use crate::{caller::Caller, clock::pause, metrics, problem::BoxError};

/// The name of the edge, which calls every service and is the only one to speak for people.
pub const GATEWAY: &str = "gateway";
/// How often the files are looked at.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(5);
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
const HANDSHAKES_AT_ONCE: usize = 64;
const ALPN: &[u8] = b"h2";

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} does not hold what it should: {source}", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A certificate is another's.
    #[error("{} must have the DNS name `{service}` and that of no other service", file.display())]
    Name {
        /// The file.
        file: PathBuf,
        /// Whose it should be.
        service: &'static str,
    },
    /// They do not go together.
    #[error("the certificates cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// No authority is fit to say who calls.
    #[error("the authority cannot be used: {0}")]
    Authority(#[from] VerifierBuilderError),
}

/// The certificates by which one service knows others and is known by them.
pub struct Certificates {
    service: &'static str,
    folder: PathBuf,
    callers: Vec<&'static str>,
    current: RwLock<Current>,
}

struct Current {
    digest: [u8; 32],
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Certificates {
    /// Reads `ca.crt`, `<service>.crt` and `<service>.key` of a folder. Those named in `callers` may
    /// call the service.
    ///
    /// # Errors
    /// Says which file is missing or holds something else.
    pub fn open(
        folder: impl Into<PathBuf>,
        service: &'static str,
        callers: Vec<&'static str>,
    ) -> Result<Arc<Self>, Error> {
        let folder = folder.into();
        let current = RwLock::new(Files::read(&folder, service)?.current(&callers)?);
        Ok(Arc::new(Self { service, folder, callers, current }))
    }

    /// Reads the files again; whether they had changed. What cannot be used changes nothing.
    ///
    /// # Errors
    /// As [`Certificates::open`]: also while files are being replaced one by one.
    pub fn refresh(&self) -> Result<bool, Error> {
        let files = Files::read(&self.folder, self.service)?;
        if files.digest() == self.current.read().unwrap_or_else(PoisonError::into_inner).digest {
            return Ok(false);
        }
        let current = files.current(&self.callers)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(true)
    }

    /// Keeps to the files, for ever.
    ///
    /// # Errors
    /// None: it has the form of a task.
    pub async fn keep_fresh(self: Arc<Self>) -> Result<(), BoxError> {
        let (service, mut well) = (self.service, true);
        loop {
            pause(LOOKED_AT_EVERY).await;
            let refreshed = self.refresh();
            let was_well = std::mem::replace(&mut well, refreshed.is_ok());
            match refreshed {
                Ok(true) => tracing::info!(service, "new certificates are in use"),
                Err(error) if was_well => tracing::warn!(service, %error, "kept the certificates as they were"),
                Ok(false) | Err(_) => {}
            }
        }
    }

    /// Connects to a service at an address, whatever the name of the address is.
    pub(crate) async fn connect(
        &self,
        service: &str,
        address: &Uri,
    ) -> io::Result<TokioIo<client::TlsStream<TcpStream>>> {
        let none = || io::Error::new(io::ErrorKind::InvalidInput, format!("{address} names no host and port"));
        let host = address.host().ok_or_else(none)?.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(service.to_owned()).map_err(io::Error::other)?;
        let stream = TcpStream::connect((host, address.port_u16().ok_or_else(none)?)).await?;
        stream.set_nodelay(true)?;
        let client = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).client);
        Ok(TokioIo::new(TlsConnector::from(client).connect(name, stream).await?))
    }

    /// Those who come, once they have shown who they are.
    pub(crate) fn incoming(self: Arc<Self>, listener: TcpListener) -> impl Stream<Item = io::Result<Shown>> {
        let accepted = TcpListenerStream::new(listener).map(move |stream| {
            let certificates = Arc::clone(&self);
            async move {
                match stream {
                    Ok(stream) => certificates.accept(stream).await.map(Ok),
                    Err(error) => Some(Err(error)),
                }
            }
        });
        accepted.buffer_unordered(HANDSHAKES_AT_ONCE).filter_map(ready)
    }

    async fn accept(&self, stream: TcpStream) -> Option<Shown> {
        let (service, from) = (self.service, stream.peer_addr().ok());
        let server = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).server);
        let handshake = async {
            stream.set_nodelay(true)?;
            TlsAcceptor::from(server).accept(stream).await
        };
        match tokio::time::timeout(HANDSHAKE_WITHIN, handshake).await {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(|chain| holder(chain.first()?));
                return Some(Shown { stream, holder: Holder(shown?) });
            }
            // A probe that only asks whether somebody listens ends like this too.
            Ok(Err(error)) if error.kind() != io::ErrorKind::InvalidData => {
                tracing::debug!(service, ?from, %error, "a caller went away");
            }
            Ok(Err(error)) => tracing::warn!(service, ?from, %error, "a caller was refused"),
            Err(_) => tracing::debug!(service, ?from, "a caller's handshake took too long"),
        }
        None
    }
}

/// The content of the three files.
struct Files {
    service: &'static str,
    parts: [(PathBuf, Vec<u8>); 3],
}

impl Files {
    /// A few kilobytes of a local file system, so the thread is not held up.
    fn read(folder: &std::path::Path, service: &'static str) -> Result<Self, Error> {
        let read = |name: String| {
            let file = folder.join(name);
            match fs::read(&file) {
                Ok(content) => Ok((file, content)),
                Err(source) => Err(Error::Read { file, source }),
            }
        };
        let parts = [read("ca.crt".to_owned())?, read(format!("{service}.crt"))?, read(format!("{service}.key"))?];
        Ok(Self { service, parts })
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for (_, content) in &self.parts {
            digest.update(Sha256::digest(content));
        }
        digest.finalize().into()
    }

    fn current(&self, callers: &[&'static str]) -> Result<Current, Error> {
        let [authorities, chain, key] = &self.parts;
        let (authorities, chain) = (certificates(authorities)?, certificates(chain)?);
        let key = PrivateKeyDer::from_pem_slice(&key.1).map_err(|source| pem_error(&key.0, source))?;
        if chain.first().and_then(holder) != Some(self.service) {
            return Err(Error::Name { file: self.parts[1].0.clone(), service: self.service });
        }
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone())?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let known = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build()?;
        let listed = Arc::new(Listed { service: self.service, known, callers: callers.to_vec() });
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(listed)
            .with_single_cert(chain.clone(), key.clone_key())?;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.clone(), key)?;
        // A connection that is resumed shows no certificate, so nobody would ask whether it still counts.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        client.resumption = Resumption::disabled();
        (server.alpn_protocols, client.alpn_protocols) = (vec![ALPN.to_vec()], vec![ALPN.to_vec()]);
        for (role, held) in [("ca", &authorities[..]), ("service", &chain[..1])] {
            if let Some(at) = held.iter().filter_map(expires_at).min() {
                metrics::get().certificate_expires(self.service, role, at);
            }
        }
        Ok(Current { digest: self.digest(), server: Arc::new(server), client: Arc::new(client) })
    }
}

fn pem_error(file: &std::path::Path, source: pem::Error) -> Error {
    Error::Pem { file: file.to_owned(), source }
}

/// At least one, or it is an error.
fn certificates((file, content): &(PathBuf, Vec<u8>)) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = CertificateDer::pem_slice_iter(content).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(pem_error(file, pem::Error::NoItemsFound)),
        found => found.map_err(|source| pem_error(file, source)),
    }
}

/// The one service that a certificate names.
fn holder(certificate: &CertificateDer<'_>) -> Option<&'static str> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let named = |service: &&'static str| {
        names.value.general_names.iter().any(|name| matches!(name, GeneralName::DNSName(name) if *name == *service))
    };
    let mut services = proto::SERVICES.into_iter().chain([GATEWAY]).filter(named);
    services.next().filter(|_| services.next().is_none())
}

/// When a certificate ends, in seconds since 1970.
fn expires_at(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    certificate.validity().not_after.timestamp().try_into().ok()
}

/// Lets those in that an authority knows and the list names.
#[derive(Debug)]
struct Listed {
    service: &'static str,
    known: Arc<dyn ClientCertVerifier>,
    callers: Vec<&'static str>,
}

impl ClientCertVerifier for Listed {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.known.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let known = self.known.verify_client_cert(shown, between, now)?;
        let caller = holder(shown);
        if caller.is_some_and(|caller| self.callers.contains(&caller)) {
            return Ok(known);
        }
        tracing::warn!(service = self.service, caller, "this caller is not on the list");
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.known.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.known.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.supported_verify_schemes()
    }
}

/// Who holds the certificate that came with a connection; each request has it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder(pub &'static str);

impl Holder {
    /// Whether it may be this caller: itself, or people if it is the edge.
    #[must_use]
    pub fn speaks_for(self, caller: &Caller) -> bool {
        match caller {
            Caller::Service(name) => name == self.0,
            Caller::Person(_) => self.0 == GATEWAY,
        }
    }
}

/// A connection of who has shown a certificate.
pub(crate) struct Shown {
    stream: server::TlsStream<TcpStream>,
    holder: Holder,
}

impl Connected for Shown {
    type ConnectInfo = Holder;

    fn connect_info(&self) -> Holder {
        self.holder
    }
}

impl AsyncRead for Shown {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Shown {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
