//! The bytes of every event, which must decode for ever: a difference here is a break of the contract
//! unless it only adds.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use directory::{
    domain::{
        ApiKey, ApiKeyId, ApiKeyWhat, Membership, MembershipId, MembershipState, MembershipWhat, Person, PersonKind,
        PersonState, PersonWhat, Private, Team, TeamRole, TeamState, TeamWhat, Tenant, TenantState, TenantWhat,
    },
    events::publish,
};
use kit::{
    caller::system,
    id::{PersonId, TeamId, TenantId},
    journal::Entry,
};
use prost::Message;
use proto::directory::v1::DirectoryEvent;
use uuid::Uuid;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0199_b0c0_0000_7000_8000_0000_0000_0000 + number)
}

fn at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 123_456_000).unwrap()
}

fn entries() -> Vec<Entry> {
    let actor = system("directory", "provision", None);
    let tenant = Tenant {
        id: TenantId(id(1)),
        revision: 1,
        slug: "default".to_owned(),
        display_name: "Default".to_owned(),
        state: TenantState::Active,
        created_at: at(),
        updated_at: at(),
    };
    let person = Person {
        id: PersonId(id(2)),
        revision: 2,
        kind: PersonKind::Human,
        display_name: Private::new("Ada Lovelace"),
        email: Private::new("ada@lovelace.example"),
        time_zone: "Europe/London".to_owned(),
        administrator: true,
        state: PersonState::Active,
        created_at: at(),
        updated_at: at(),
    };
    let team = Team {
        id: TeamId(id(3)),
        revision: 3,
        name: "operations".to_owned(),
        display_name: "Operations".to_owned(),
        description: "Keeps it running.".to_owned(),
        state: TeamState::Retired,
        created_at: at(),
        updated_at: at(),
    };
    let membership = Membership {
        id: MembershipId(id(4)),
        revision: 4,
        team_id: team.id,
        person_id: person.id,
        role: TeamRole::Manager,
        state: MembershipState::Ended,
        created_at: at(),
        updated_at: at(),
    };
    let key = ApiKey {
        id: ApiKeyId(id(5)),
        revision: 5,
        person_id: person.id,
        display_name: "ci".to_owned(),
        scopes: vec!["incident.*".parse().unwrap()],
        hint: "itsm_0199b0c0".to_owned(),
        expires_at: Some(at()),
        revoked_at: Some(at()),
        created_at: at(),
        updated_at: at(),
    };
    vec![
        publish::tenant(&tenant, TenantWhat::Created, &actor),
        publish::tenant(&tenant, TenantWhat::Changed, &actor),
        publish::person(&person, PersonWhat::Created, &actor),
        publish::person(&person, PersonWhat::Changed, &actor),
        publish::person(&person, PersonWhat::Deactivated, &actor),
        publish::person(&person, PersonWhat::Reactivated, &actor),
        publish::team(&team, TeamWhat::Created, &actor),
        publish::team(&team, TeamWhat::Changed, &actor),
        publish::team(&team, TeamWhat::Retired, &actor),
        publish::membership(&membership, MembershipWhat::Started, &actor),
        publish::membership(&membership, MembershipWhat::Changed, &actor),
        publish::membership(&membership, MembershipWhat::Ended, &actor),
        publish::api_key(&key, ApiKeyWhat::Created { digest: [7; 32] }, &actor),
        publish::api_key(&key, ApiKeyWhat::Revoked, &actor),
    ]
}

#[test]
fn the_bytes_of_every_event_stay() {
    let mut text = String::new();
    for entry in entries() {
        let hex: String = entry.body.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{} {hex}", entry.kind).unwrap();
    }
    insta::assert_snapshot!("events", text);
}

#[test]
fn the_kept_bytes_decode() {
    let kept = include_str!("snapshots/golden__events.snap");
    let mut decoded = 0;
    for line in kept.lines().filter(|line| !line.contains(':') && line.contains(' ')) {
        let (kind, hex) = line.split_once(' ').unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let event = DirectoryEvent::decode(bytes.as_slice()).unwrap();
        assert!(event.record.is_some() && event.what.is_some() && event.actor.is_some(), "{kind}");
        decoded += 1;
    }
    assert_eq!(decoded, entries().len());
}
