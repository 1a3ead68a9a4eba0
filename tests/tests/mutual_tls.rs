//! Who may call a service over TCP: those on its list, with a certificate of the installation's
//! authority, and with a token of their own.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{collections::HashMap, fs, net::SocketAddr, path::Path, sync::Arc};

use kit::{
    peer::Peers,
    service::{Context, Listen},
    testing::{Stage, eventually, seed},
    tls::{Certificates, GATEWAY},
    token::Signer,
};
use proto::{
    common::v1::{PositionRequest, Role},
    directory::v1::{
        ListTeamsRequest, directory_service_client::DirectoryServiceClient, internal_client::InternalClient,
    },
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tonic::{Code, Status};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Puts a service's three files into a folder: its certificate has these names and counts until
    /// the end of a year.
    fn issue(&self, folder: &Path, service: &str, names: &[&str], until: i32) {
        let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 12, 31);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        fs::write(folder.join("ca.crt"), self.0.pem()).unwrap();
        fs::write(folder.join(format!("{service}.crt")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{service}.key")), key.serialize_pem()).unwrap();
    }
}

/// A directory that listens on TCP.
struct Scene {
    stage: Stage,
    authority: Authority,
    folder: TempDir,
    address: SocketAddr,
    directory: Arc<Certificates>,
}

impl Scene {
    async fn set() -> Self {
        let stage = Stage::set(&[("directory", &directory::MIGRATOR)]).await;
        let (authority, folder) = (Authority::new("ours"), TempDir::new().unwrap());
        authority.issue(folder.path(), "directory", &["directory", "directory.itsm.svc"], 2100);
        let certificates = Certificates::open(folder.path(), "directory", vec!["incident", GATEWAY]).unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listen = Listen::Tls(address, Arc::clone(&certificates));
        let context = Context { listen, ..stage.context("directory").await };
        directory::start(context, directory::Settings::default(), stage.directory()).await.unwrap();
        eventually("the relay, without which nobody is told a position", || async {
            let relay = "select from directory.lease where name = 'relay'";
            sqlx::query(relay).fetch_optional(&mut stage.admin().await).await.unwrap().map(drop)
        })
        .await;
        Self { stage, authority, folder, address, directory: certificates }
    }

    /// What a service calls with, as the files in the folder are; `callee` is whom it looks for here.
    fn peers(&self, service: &'static str, callee: &str) -> Peers {
        let certificates = Certificates::open(self.folder.path(), service, vec![]).unwrap();
        let address = HashMap::from([(callee.to_owned(), format!("https://{}", self.address))]);
        let signer = Signer::new(service, &seed(service)).unwrap();
        Peers::new(signer, self.stage.clock.clone(), &address, Some(&certificates)).unwrap()
    }

    async fn ask(&self, service: &'static str) -> Result<(), Status> {
        self.peers(service, "directory").position("directory").await.map(drop)
    }

    /// The service does not trust who listens.
    async fn distrusts(&self, service: &'static str) {
        let status = self.ask(service).await.unwrap_err();
        assert!(format!("{status:?}").contains("UnknownIssuer"), "{status:?}");
    }

    /// Who listens does not let the service in: no token was looked at.
    async fn refused(&self, service: &'static str, why: &str) {
        let status = self.ask(service).await.unwrap_err();
        assert!([Code::Unavailable, Code::Unknown].contains(&status.code()), "{status:?}");
        let said = self.said_to(Some(service)).await;
        assert!(said.contains(why), "{said} does not say {why}");
    }

    /// What who listens says to a service's certificate, or to none.
    async fn said_to(&self, service: Option<&str>) -> String {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots);
        let client = match service.map(|service| self.folder.path().join(service)) {
            None => client.with_no_client_auth(),
            Some(path) => {
                let certificate = CertificateDer::from_pem_file(path.with_extension("crt")).unwrap();
                let key = PrivateKeyDer::from_pem_file(path.with_extension("key")).unwrap();
                client.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        match connector.connect(ServerName::try_from("directory").unwrap(), stream).await {
            // The server answers only after the client believes that it is done.
            Ok(mut stream) => stream.read_u8().await.unwrap_err().to_string(),
            Err(error) => error.to_string(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_authority_with_a_name_on_the_list_is_let_in() {
    let scene = Scene::set().await;
    let issue = |service: &str, names: &[&str], until| {
        scene.authority.issue(scene.folder.path(), service, names, until);
    };
    issue("incident", &["incident.itsm.svc", "incident"], 2100);
    scene.ask("incident").await.unwrap();

    issue("sla", &["sla"], 2100);
    scene.refused("sla", "AccessDenied").await;
    issue("incident", &["incident"], 2021);
    scene.refused("incident", "CertificateExpired").await;

    // Names that say too much, nothing, or another's.
    for names in [&["incident", "directory"][..], &["incident.itsm.svc"], &["sla"]] {
        issue("incident", names, 2100);
        let refused = Certificates::open(scene.folder.path(), "incident", vec![]).err().unwrap().to_string();
        assert!(refused.contains("incident.crt must have the DNS name `incident`"), "{refused}");
    }

    // A name on the list from another authority, in which case neither trusts the other.
    let other = Authority::new("theirs");
    other.issue(scene.folder.path(), "incident", &["incident"], 2100);
    scene.distrusts("incident").await;
    fs::write(scene.folder.path().join("ca.crt"), scene.authority.0.pem()).unwrap();
    scene.refused("incident", "UnknownCA").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_listens_must_be_the_one_looked_for() {
    let scene = Scene::set().await;
    scene.authority.issue(scene.folder.path(), "incident", &["incident"], 2100);
    let status = scene.peers("incident", "catalog").position("catalog").await.unwrap_err();
    assert!(format!("{status:?}").contains("NotValidForName"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_nobody_is_heard() {
    let scene = Scene::set().await;
    let plain = HashMap::from([("directory".to_owned(), format!("http://{}", scene.address))]);
    let signer = || Signer::new("incident", &seed("incident")).unwrap();
    let peers = Peers::new(signer(), scene.stage.clock.clone(), &plain, None).unwrap();
    assert_ne!(peers.position("directory").await.unwrap_err().code(), Code::Unauthenticated);
    let by_tls = HashMap::from([("directory".to_owned(), format!("https://{}", scene.address))]);
    assert!(Peers::new(signer(), scene.stage.clock.clone(), &by_tls, None).is_err(), "it would go unencrypted");

    let said = scene.said_to(None).await;
    assert!(said.contains("CertificateRequired"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_only_from_who_signed_it_and_for_whom_it_is() {
    let scene = Scene::set().await;
    for service in ["incident", GATEWAY] {
        scene.authority.issue(scene.folder.path(), service, &[service], 2100);
    }
    let of = |service| scene.peers(service, "directory").channel("directory").unwrap();
    let position = async |from: &str, to: &str| {
        let message = PositionRequest { settled: false };
        let answer = InternalClient::new(of("incident")).position(scene.stage.service_request(from, to, message)).await;
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    };
    assert_eq!(position("incident", "directory").await, Code::Ok);
    assert_eq!(position("incident", "catalog").await, Code::Unauthenticated);
    assert_eq!(position("sla", "directory").await, Code::Unauthenticated);

    // Only the edge speaks for people: a token that another service saw is of no use to it.
    let person = scene.stage.person(Role::Administrator, kit::id::TeamId::draw());
    let teams = async |through| {
        let request = scene.stage.request(&person, ListTeamsRequest::default());
        DirectoryServiceClient::new(of(through))
            .list_teams(request)
            .await
            .map_or_else(|status| status.code(), |_| Code::Ok)
    };
    assert_eq!(teams(GATEWAY).await, Code::Ok);
    assert_eq!(teams("incident").await, Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_count_for_new_connections() {
    let scene = Scene::set().await;
    let issue = |authority: &Authority, service: &str, until| {
        authority.issue(scene.folder.path(), service, &[service], until);
    };
    let expires = || {
        let page = kit::metrics::render();
        let wanted = "itsm_certificate_expires_at_seconds{role=\"service\",service=\"directory\"} ";
        page.lines().find_map(|line| line.strip_prefix(wanted)?.parse::<f64>().ok()).unwrap()
    };
    issue(&scene.authority, "incident", 2100);
    let before = scene.peers("incident", "directory");
    before.position("directory").await.unwrap();
    assert!(!scene.directory.refresh().unwrap(), "nothing changed");
    let expired_before = expires();

    // In the middle of a replacement the halves do not fit, and all stays as it was.
    let key = fs::read(scene.folder.path().join("directory.key")).unwrap();
    fs::write(scene.folder.path().join("directory.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(scene.directory.refresh().is_err());
    fs::remove_file(scene.folder.path().join("directory.key")).unwrap();
    assert!(scene.directory.refresh().is_err());
    scene.ask("incident").await.unwrap();
    fs::write(scene.folder.path().join("directory.key"), key).unwrap();
    assert!(!scene.directory.refresh().unwrap());

    let other = Authority::new("theirs");
    issue(&other, "incident", 2100);
    issue(&other, "directory", 2090);
    scene.distrusts("incident").await;
    assert!(scene.directory.refresh().unwrap());
    scene.ask("incident").await.unwrap();
    assert!(expires() < expired_before);
    before.position("directory").await.expect("a connection that was there goes on");
    issue(&scene.authority, "incident", 2100);
    scene.distrusts("incident").await;
}
