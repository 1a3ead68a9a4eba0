//! Every RPC of every service against every kind of caller, compared with a committed table: a new
//! RPC cannot be forgotten, and a changed right is seen in review.
//!
//! `open` means that the door let the call in; what the use case then said of an empty message does
//! not matter here. Another tenant's ids answer like absent ones: see `two_tenants`, and each
//! service's own tests. Write the table anew with `ITSM_ACCEPT=1`.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{fmt::Write, path::Path, str::FromStr};

use itsm_tests::world::World;
use kit::caller::Person;
use proto::common::v1::Role;
use tonic::{Code, Request, Status, codegen::http::uri::PathAndQuery, metadata::MetadataValue};

/// Calls an RPC with an empty message; only whether the door let it in counts.
async fn knock(world: &World, path: &str, token: Option<&str>) -> Code {
    let service = path.split('.').nth(1).unwrap();
    let mut client = tonic::client::Grpc::new(world.stage.channel(service));
    client.ready().await.unwrap();
    let mut request = Request::new(());
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", MetadataValue::try_from(format!("Bearer {token}")).unwrap());
    }
    request.set_timeout(std::time::Duration::from_secs(5));
    let answer: Result<_, Status> = client
        .server_streaming(request, PathAndQuery::from_str(path).unwrap(), tonic_prost::ProstCodec::<(), ()>::default())
        .await;
    match answer {
        Ok(stream) => {
            // An answer, or the first of a stream that stays open: the door was open.
            let mut stream = stream.into_inner();
            match tokio::time::timeout(std::time::Duration::from_millis(50), stream.message()).await {
                Ok(Err(status)) => status.code(),
                Ok(Ok(_)) | Err(_) => Code::Ok,
            }
        }
        Err(status) => status.code(),
    }
}

fn word(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => "who?",
        Code::PermissionDenied => "no",
        _ => "open",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_is_open_to_whom_the_table_says() {
    let world = World::begin().await;
    let in_role = |role: Role| Person {
        administrator: role == Role::Administrator,
        teams: vec![(world.team, role)],
        ..world.administrator.clone()
    };
    let signer = world.stage.directory();
    let hour = chrono::TimeDelta::hours(1);
    let token = |person: &Person| signer.inner_token(person, world.now(), hour);
    let scoped = Person { scopes: vec!["*.read".to_owned()], ..in_role(Role::Administrator) };
    let expired = signer.inner_token(&in_role(Role::Administrator), world.now() - chrono::TimeDelta::days(1), hour);

    let mut table =
        String::from("# Every RPC against every caller: `open`, `no` (PERMISSION_DENIED), `who?` (UNAUTHENTICATED).\n");
    writeln!(
        table,
        "{:<62} {:>6} {:>7} {:>7} {:>7} {:>9} {:>7} {:>13} {:>9} {:>7}",
        "rpc", "none", "garbage", "expired", "viewer", "responder", "manager", "administrator", "read-only", "service"
    )
    .unwrap();
    for method in proto::METHODS {
        let service = method.path.split('.').nth(1).unwrap();
        let peer = world
            .stage
            .service_request("incident", service, ())
            .metadata()
            .get("authorization")
            .unwrap()
            .to_str()
            .unwrap()
            .replace("Bearer ", "");
        let knocks = [
            knock(&world, method.path, None).await,
            knock(&world, method.path, Some("garbage")).await,
            knock(&world, method.path, Some(&expired)).await,
            knock(&world, method.path, Some(&token(&in_role(Role::Viewer)))).await,
            knock(&world, method.path, Some(&token(&in_role(Role::Responder)))).await,
            knock(&world, method.path, Some(&token(&in_role(Role::Manager)))).await,
            knock(&world, method.path, Some(&token(&in_role(Role::Administrator)))).await,
            knock(&world, method.path, Some(&token(&scoped))).await,
            knock(&world, method.path, Some(&peer)).await,
        ];
        let words: Vec<&str> = knocks.into_iter().map(word).collect();
        let name = method.path.trim_start_matches("/itsm.");
        writeln!(
            table,
            "{name:<62} {:>6} {:>7} {:>7} {:>7} {:>9} {:>7} {:>13} {:>9} {:>7}",
            words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7], words[8]
        )
        .unwrap();
    }

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/access.txt");
    #[expect(clippy::disallowed_methods, reason = "who runs the test accepts by a variable")]
    let accepted = std::env::var("ITSM_ACCEPT").is_ok();
    if accepted {
        std::fs::write(&golden, &table).unwrap();
    }
    let committed = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(
        committed == table,
        "rights differ from tests/golden/access.txt; if that is wanted, accept with ITSM_ACCEPT=1\n{table}"
    );
}
