//! The embedded servers, really started in a folder of their own: what a stop, a restart and a
//! kill leave behind.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use super::child::end_leftovers;
use super::folder::DataFolder;
use super::nats::Nats;
use super::postgres::Postgres;
use crate::provisioner::authority::Authority;

fn temporary() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("itsm-t").tempdir_in("/tmp").unwrap()
}

fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

async fn gone(pid: i32) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while is_running(pid) {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        super::pause(Duration::from_millis(10)).await;
    }
}

async fn text(postgres: &Postgres, query: &'static str) -> String {
    let mut connection = PgConnection::connect_with(&postgres.admin_options()).await.unwrap();
    sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
}

async fn run(postgres: &Postgres, query: &'static str) {
    let mut connection = PgConnection::connect_with(&postgres.admin_options()).await.unwrap();
    sqlx::query(query).execute(&mut connection).await.unwrap();
}

fn server() -> std::path::PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/nats-server");
    project.canonicalize().unwrap()
}

/// A data folder below one that others may enter: the temporary folder itself is closed.
fn open(temporary: &tempfile::TempDir) -> DataFolder {
    super::folder::make_folder(temporary.path(), 0o711).unwrap();
    DataFolder::open(&temporary.path().join("var")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_data_and_password_over_a_restart() {
    let temporary = temporary();
    let folder = open(&temporary);
    let postgres = Postgres::start(&folder, None).await.unwrap();
    let socket = postgres.admin_options().get_socket().unwrap().clone();
    assert!(socket.starts_with(folder.root()), "{}", socket.display());
    assert_eq!(text(&postgres, "show listen_addresses").await, "");
    assert_eq!(text(&postgres, "show data_checksums").await, "on");
    assert_eq!(text(&postgres, "show synchronous_commit").await, "on");
    assert_eq!(text(&postgres, "show max_connections").await, "200");
    assert_eq!(text(&postgres, "show server_encoding").await, "UTF8");
    assert_eq!(text(&postgres, "select current_database()::text").await, "itsm");
    let password = std::fs::read_to_string(folder.postgres_password()).unwrap();
    let wrong = postgres.admin_options().password("wrong");
    assert!(PgConnection::connect_with(&wrong).await.is_err(), "a wrong password is accepted");
    run(&postgres, "create table kept as select 'still here' as what").await;
    let (pid, exited) = (postgres.pid(), postgres.exited());
    postgres.stop().await.unwrap();
    assert!(exited.await.success());
    gone(pid).await;
    assert_eq!(std::fs::read_dir(folder.pids()).unwrap().count(), 0);

    let postgres = Postgres::start(&folder, None).await.unwrap();
    assert_eq!(text(&postgres, "select what from kept").await, "still here");
    assert_eq!(std::fs::read_to_string(folder.postgres_password()).unwrap(), password);
    postgres.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_path_gets_a_short_socket() {
    let temporary = temporary();
    super::folder::make_folder(temporary.path(), 0o711).unwrap();
    let deep = temporary.path().join("a-rather-long-name-of-a-folder".repeat(4));
    super::folder::make_folder(&deep, 0o711).unwrap();
    let folder = DataFolder::open(&deep.join("var")).unwrap();
    let postgres = Postgres::start(&folder, None).await.unwrap();
    let socket = postgres.admin_options().get_socket().unwrap().clone();
    assert!(socket.starts_with("/tmp") && socket.as_os_str().len() < 40, "{}", socket.display());
    assert_eq!(text(&postgres, "select 'here'").await, "here");
    postgres.stop().await.unwrap();
    std::fs::remove_dir(&socket).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_folder_above_moves_the_database_outside() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let temporary = temporary();
    super::folder::make_folder(temporary.path(), 0o700).unwrap();
    let folder = DataFolder::open(&temporary.path().join("var")).unwrap();
    let postgres = Postgres::start(&folder, None).await.unwrap();
    assert_eq!(text(&postgres, "show data_directory").await, format!("/var/lib/itsm/{}/data", folder.id()));
    run(&postgres, "create table kept as select 'still here' as what").await;
    postgres.stop().await.unwrap();
    let postgres = Postgres::start(&folder, None).await.unwrap();
    assert_eq!(text(&postgres, "select what from kept").await, "still here");
    postgres.stop().await.unwrap();
    std::fs::remove_dir_all(Path::new("/var/lib/itsm").join(folder.id())).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_keeps_its_port_over_a_restart_and_a_broken_setting_is_told() {
    let temporary = temporary();
    let folder = open(&temporary);
    let authority = Authority::open(&folder).unwrap();
    let nats = Nats::start(&folder, Some(&server()), &authority.trust().unwrap()).await.unwrap();
    let url = nats.url().to_owned();
    assert_eq!(std::fs::read_to_string(folder.nats_url()).unwrap(), format!("{url}\n"));
    let pid = nats.pid();
    nats.stop().await.unwrap();
    gone(pid).await;
    let nats = Nats::start(&folder, Some(&server()), &authority.trust().unwrap()).await.unwrap();
    assert_eq!(nats.url(), url);
    nats.stop().await.unwrap();

    let mut broken = authority.trust().unwrap();
    broken.operator = "not a token".to_owned();
    let refused = Nats::start(&folder, Some(&server()), &broken).await.unwrap_err();
    assert!(format!("{refused:#}").contains("operator"), "{refused:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_replaced() {
    let temporary = temporary();
    let folder = open(&temporary);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let before = format!("nats://{}\n", taken.local_addr().unwrap());
    std::fs::write(folder.nats_url(), &before).unwrap();
    let authority = Authority::open(&folder).unwrap();
    let nats = Nats::start(&folder, Some(&server()), &authority.trust().unwrap()).await.unwrap();
    assert_ne!(std::fs::read_to_string(folder.nats_url()).unwrap(), before);
    nats.stop().await.unwrap();
}

/// The other half of the next test: a process that starts both servers and is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the next test in a process of its own"]
async fn start_both_and_wait_to_be_killed() {
    let folder = DataFolder::open(Path::new(&std::env::var_os("ITSM_TEST_FOLDER").unwrap())).unwrap();
    let authority = Authority::open(&folder).unwrap();
    let _postgres = Postgres::start(&folder, None).await.unwrap();
    let _nats = Nats::start(&folder, Some(&server()), &authority.trust().unwrap()).await.unwrap();
    std::fs::write(folder.root().join("started"), "").unwrap();
    std::future::pending::<()>().await;
}

/// Ends the first run should the test fail before it does so itself.
struct FirstRun(std::process::Child);

impl Drop for FirstRun {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_is_ended_by_the_next() {
    let temporary = temporary();
    super::folder::make_folder(temporary.path(), 0o711).unwrap();
    let path = temporary.path().join("var");
    let first = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "embedded::tests::start_both_and_wait_to_be_killed"])
        .env("ITSM_TEST_FOLDER", &path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut first = FirstRun(first);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !path.join("started").exists() {
        assert!(first.0.try_wait().unwrap().is_none(), "the first run ended by itself");
        assert!(Instant::now() < deadline, "the first run does not start");
        super::pause(Duration::from_millis(20)).await;
    }
    let refused = DataFolder::open(&path).unwrap_err().to_string();
    assert!(refused.contains(&first.0.id().to_string()), "{refused}");
    drop(first);

    let folder = DataFolder::open(&path).unwrap();
    let pids: Vec<i32> = ["postgres", "nats-server"]
        .iter()
        .map(|name| {
            let text = std::fs::read_to_string(folder.pids().join(format!("{name}.pid"))).unwrap();
            let stat = text.lines().find_map(|line| line.strip_prefix("stat ")).unwrap();
            stat.split(' ').next().unwrap().parse().unwrap()
        })
        .collect();
    assert!(pids.iter().all(|pid| is_running(*pid)), "a server ended with the killed process");
    let mut ended = end_leftovers(&folder.pids()).await.unwrap();
    ended.sort();
    assert_eq!(ended, ["nats-server", "postgres"]);
    assert!(!pids.iter().any(|pid| is_running(*pid)));

    let authority = Authority::open(&folder).unwrap();
    let postgres = Postgres::start(&folder, None).await.unwrap();
    let nats = Nats::start(&folder, Some(&server()), &authority.trust().unwrap()).await.unwrap();
    assert_eq!(text(&postgres, "select 'here'").await, "here");
    nats.stop().await.unwrap();
    postgres.stop().await.unwrap();
}
