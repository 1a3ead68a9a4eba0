//! Servers of somebody else, for services that run apart.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgConnectOptions};

use super::{PATIENCE, until};

/// A NATS of somebody else: no accounts, one password.
pub struct Nats {
    process: Child,
    pub url: String,
}

impl Nats {
    pub fn start(folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let configuration = folder.join("theirs.conf");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nmax_payload: 2MB\njetstream {{ store_dir: \"{}\" }}\n\
             authorization {{ user: it, password: \"p@ss\" }}\n",
            folder.join("js").display()
        );
        fs::write(&configuration, text).unwrap();
        let program = std::env::var_os("ITSM_NATS_SERVER")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/nats-server"), PathBuf::from);
        let process = Command::new(program).arg("--config").arg(configuration).stderr(Stdio::null()).spawn().unwrap();
        until("NATS listens", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { process, url: format!("nats://it:p%40ss@127.0.0.1:{port}") }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A database of its own in the cluster that an `itsm up` has.
pub fn database(data: &Path) -> String {
    let password = fs::read_to_string(data.join("postgres.password")).unwrap();
    let socket = data.join("postgres/run");
    let options = PgConnectOptions::new_without_pgpass()
        .socket(&socket)
        .port(5432)
        .username("itsm")
        .password(password.trim())
        .database("itsm");
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        sqlx::query(AssertSqlSafe("create database apart".to_owned())).execute(&mut connection).await.unwrap();
    });
    format!("postgres://itsm:{}@localhost/apart?host={}", password.trim(), socket.display())
}
