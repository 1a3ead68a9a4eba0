//! What the database itself guards: tenants, names and digests, and one commit for row and events.

mod desk;

use desk::{Desk, refusal};
use kit::db::Database;
use proto::{
    common::v1::{LookupRequest, SnapshotRequest},
    directory::v1::{
        DeactivatePersonRequest, EndMembershipRequest, GetApiKeyRequest, GetMembershipRequest, GetPersonRequest,
        GetTeamRequest, GetTenantRequest, ListApiKeyEventsRequest, ListMembershipEventsRequest,
        ListPersonEventsRequest, ListTeamEventsRequest, ListTenantEventsRequest, Membership, Person,
        ReactivatePersonRequest, RetireTeamRequest, RevokeApiKeyRequest, Team, Tenant, UpdateMembershipRequest,
        UpdatePersonRequest, UpdateTeamRequest, UpdateTenantRequest,
    },
};
use sqlx::{AssertSqlSafe, Row};
use tonic::{Code, Status};

/// Refused for want of a privilege, not for want of rows.
async fn denied(database: &Database, worker: bool, statement: &str) -> bool {
    let pool = if worker { &database.workers } else { &database.calls };
    let outcome = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(pool).await;
    let Err(sqlx::Error::Database(error)) = outcome else { return false };
    error.code().as_deref() == Some("42501")
}

#[tokio::test]
async fn names_and_digests_are_out_of_reach_of_who_does_not_need_them() {
    let desk = Desk::open().await;
    let database = desk.stage.database("directory");
    for statement in [
        "select display_name from directory.people",
        "select email from directory.people",
        "select * from directory.people",
        "update directory.people set administrator = true",
        "insert into directory.memberships select * from directory.memberships",
        "update directory.api_keys set revoked_at = null",
    ] {
        assert!(denied(&database, true, statement).await, "a worker may: {statement}");
    }
    for statement in
        ["select digest from directory.api_keys", "select * from directory.api_keys", "delete from directory.people"]
    {
        assert!(denied(&database, false, statement).await, "a call may: {statement}");
    }
}

#[tokio::test]
async fn every_table_has_forced_row_level_security_or_is_on_the_list() {
    let without_tenant = ["_migrations", "attempt", "lease"];
    let desk = Desk::open().await;
    let rows = sqlx::query(
        "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'directory' and c.relkind in ('r', 'p') and not c.relispartition
           and not (c.relrowsecurity and c.relforcerowsecurity) order by 1",
    )
    .fetch_all(&mut desk.stage.admin().await)
    .await
    .unwrap();
    let open: Vec<String> = rows.iter().map(|row| row.get("relname")).collect();
    assert_eq!(open, without_tenant);
    let database = desk.stage.database("directory");
    for table in ["tenants", "people", "teams", "memberships"] {
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from directory.{table}")))
            .fetch_one(&database.calls)
            .await
            .unwrap();
        assert_eq!(count, 0, "a call that names no tenant sees {table}");
    }
}

#[tokio::test]
async fn another_tenants_id_answers_like_an_absent_one() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    let jo = desk.create_person("Jo", false).await;
    let team = desk.create_team("network").await.unwrap();
    let membership = desk.join(&admin, &team.id, &jo.id, proto::common::v1::Role::Viewer).await.unwrap();
    let (key, _) = desk.key_for(&jo.id).await;
    let stranger = desk.other_tenant().await;
    let absent = kit::id::draw().to_string();
    let mut checked = 0;

    macro_rules! alike {
        ($method:ident, $id:expr, |$name:ident| $message:expr) => {{
            let mut ask = async |$name: String| -> Status {
                let request = desk.stage.request(&stranger, $message);
                desk.client.$method(request).await.map(|_| ()).unwrap_err()
            };
            let theirs = ask($id.clone()).await;
            let nobodys = ask(absent.clone()).await;
            assert_eq!(refusal(&theirs), (Code::NotFound, "NOT_FOUND".to_owned()), stringify!($method));
            assert_eq!(refusal(&nobodys), refusal(&theirs), stringify!($method));
            assert_eq!(theirs.message().replace(&$id, "ID"), nobodys.message().replace(&absent, "ID"));
            checked += 1;
        }};
    }
    let tenant = admin.tenant.id.to_string();
    let paths = |path: &str| desk::mask(&[path]);
    alike!(get_tenant, tenant, |id| GetTenantRequest { id });
    alike!(get_person, jo.id, |id| GetPersonRequest { id });
    alike!(get_team, team.id, |id| GetTeamRequest { id });
    alike!(get_membership, membership.id, |id| GetMembershipRequest { id });
    alike!(get_api_key, key.id, |id| GetApiKeyRequest { id });
    alike!(list_tenant_events, tenant, |id| ListTenantEventsRequest { id, ..Default::default() });
    alike!(list_person_events, jo.id, |id| ListPersonEventsRequest { id, ..Default::default() });
    alike!(list_team_events, team.id, |id| ListTeamEventsRequest { id, ..Default::default() });
    alike!(list_membership_events, membership.id, |id| ListMembershipEventsRequest { id, ..Default::default() });
    alike!(list_api_key_events, key.id, |id| ListApiKeyEventsRequest { id, ..Default::default() });
    alike!(update_tenant, tenant, |id| UpdateTenantRequest {
        tenant: Some(Tenant { id, revision: 1, display_name: "x".to_owned(), ..Tenant::default() }),
        update_mask: paths("display_name"),
        request_id: String::new(),
    });
    alike!(update_person, jo.id, |id| UpdatePersonRequest {
        person: Some(Person { id, revision: 1, ..Person::default() }),
        update_mask: paths("administrator"),
        request_id: String::new(),
    });
    alike!(update_team, team.id, |id| UpdateTeamRequest {
        team: Some(Team { id, revision: 1, ..Team::default() }),
        update_mask: paths("description"),
        request_id: String::new(),
    });
    alike!(update_membership, membership.id, |id| UpdateMembershipRequest {
        membership: Some(Membership { id, revision: 1, role: 1, ..Membership::default() }),
        update_mask: paths("role"),
        request_id: String::new(),
    });
    alike!(deactivate_person, jo.id, |id| DeactivatePersonRequest { id, ..Default::default() });
    alike!(reactivate_person, jo.id, |id| ReactivatePersonRequest { id, ..Default::default() });
    alike!(retire_team, team.id, |id| RetireTeamRequest { id, ..Default::default() });
    alike!(end_membership, membership.id, |id| EndMembershipRequest { id, ..Default::default() });
    alike!(revoke_api_key, key.id, |id| RevokeApiKeyRequest { id, ..Default::default() });
    assert_eq!(checked, 19);

    let ours = stranger.teams[0].0.to_string();
    for (team, person) in [(&team.id, &jo.id), (&ours, &jo.id)] {
        let refused = desk.join(&stranger, team, person, proto::common::v1::Role::Viewer).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "a record of another tenant is joined");
    }
    let lookup = LookupRequest { tenant_id: stranger.tenant.id.to_string(), record_id: jo.id.clone() };
    let refused = desk.internal.lookup(desk.stage.service_request("incident", "directory", lookup)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test]
async fn what_fails_half_way_leaves_neither_row_nor_event() {
    let mut desk = Desk::open().await;
    desk.create_team("network").await.unwrap();
    let count = async |table: &str| -> i64 {
        let statement = format!("select count(*) from directory.{table}");
        sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&mut desk.stage.admin().await).await.unwrap()
    };
    let before = (count("teams").await, count("journal").await);
    let mut admin = desk.stage.admin().await;
    sqlx::raw_sql(
        "create function directory.fail() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
         create trigger fail before insert on directory.outbox for each row execute function directory.fail()",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    let team = Team { name: "storage".to_owned(), display_name: "Storage".to_owned(), ..Team::default() };
    let message = proto::directory::v1::CreateTeamRequest { team: Some(team), request_id: String::new() };
    let mut client = desk.client.clone();
    let status = client.create_team(desk.stage.request(&desk.admin, message)).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert_eq!((count("teams").await, count("journal").await), before);
}

#[tokio::test]
async fn a_snapshot_pages_through_every_record_once_and_without_names() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    desk.other_tenant().await;
    sqlx::query(
        "insert into directory.people (id, tenant_id, revision, kind, display_name, email, time_zone, administrator, state, created_at, updated_at)
         select gen_random_uuid(), $1, 1, 'HUMAN', 'Secret Name', 'secret@example.com', '', false, 'ACTIVE', now(), now()
         from generate_series(1, 450)",
    )
    .bind(admin.tenant.id.0)
    .execute(&mut desk.stage.admin().await)
    .await
    .unwrap();
    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = SnapshotRequest { tenant_id: admin.tenant.id.to_string(), page_token };
        let request = desk.stage.service_request("incident", "directory", message);
        let page = desk.internal.snapshot(request).await.unwrap().into_inner();
        for entry in &page.entries {
            let bytes = String::from_utf8_lossy(&entry.body);
            assert!(!bytes.contains("Secret Name") && !bytes.contains("example.com"), "{bytes}");
        }
        ids.extend(page.entries.into_iter().map(|entry| entry.record_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), all), (450 + 4, 450 + 4), "people, administrator, team, membership, tenant");

    let message = SnapshotRequest::default();
    let tenants = desk.internal.snapshot(desk.stage.service_request("incident", "directory", message)).await.unwrap();
    let slugs: Vec<String> = tenants.into_inner().entries.into_iter().map(|entry| entry.tenant).collect();
    assert_eq!(slugs, ["default", "other"]);
}
