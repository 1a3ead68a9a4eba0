//! What happened, as an event. Pure. Here names and addresses of people are taken out, so that none
//! ever enters the journal, a stream, or another service.

use kit::journal::Entry;
use prost::Message;
use proto::{
    common::v1::Actor,
    directory::v1::{
        ApiKeyCreated, ApiKeyRevoked, DirectoryEvent, MembershipChanged, MembershipEnded, MembershipStarted,
        PersonChanged, PersonCreated, PersonDeactivated, PersonReactivated, TeamChanged, TeamCreated, TeamRetired,
        TenantChanged, TenantCreated,
        directory_event::{Record as Said, What},
    },
};

use crate::{
    api::convert::records,
    domain::{
        ApiKey, ApiKeyWhat, Membership, MembershipWhat, Person, PersonWhat, Private, Record, Team, TeamWhat, Tenant,
        TenantWhat,
    },
    store::snapshot::AnyRecord,
};

/// The journal entry of something that happened to a tenant.
#[must_use]
pub fn tenant(tenant: &Tenant, what: TenantWhat, actor: &Actor) -> Entry {
    let (kind, what) = match what {
        TenantWhat::Created => ("tenant_created", What::TenantCreated(TenantCreated {})),
        TenantWhat::Changed => ("tenant_changed", What::TenantChanged(TenantChanged {})),
    };
    entry(tenant, said_tenant(tenant), kind, what, actor)
}

/// The journal entry of something that happened to a person.
#[must_use]
pub fn person(person: &Person, what: PersonWhat, actor: &Actor) -> Entry {
    let (kind, what) = match what {
        PersonWhat::Created => ("person_created", What::PersonCreated(PersonCreated {})),
        PersonWhat::Changed => ("person_changed", What::PersonChanged(PersonChanged {})),
        PersonWhat::Deactivated => ("person_deactivated", What::PersonDeactivated(PersonDeactivated {})),
        PersonWhat::Reactivated => ("person_reactivated", What::PersonReactivated(PersonReactivated {})),
    };
    entry(person, said_person(person), kind, what, actor)
}

/// The journal entry of something that happened to a team.
#[must_use]
pub fn team(team: &Team, what: TeamWhat, actor: &Actor) -> Entry {
    let (kind, what) = match what {
        TeamWhat::Created => ("team_created", What::TeamCreated(TeamCreated {})),
        TeamWhat::Changed => ("team_changed", What::TeamChanged(TeamChanged {})),
        TeamWhat::Retired => ("team_retired", What::TeamRetired(TeamRetired {})),
    };
    entry(team, said_team(team), kind, what, actor)
}

/// The journal entry of something that happened to a membership.
#[must_use]
pub fn membership(membership: &Membership, what: MembershipWhat, actor: &Actor) -> Entry {
    let (kind, what) = match what {
        MembershipWhat::Started => ("membership_started", What::MembershipStarted(MembershipStarted {})),
        MembershipWhat::Changed => ("membership_changed", What::MembershipChanged(MembershipChanged {})),
        MembershipWhat::Ended => ("membership_ended", What::MembershipEnded(MembershipEnded {})),
    };
    entry(membership, said_membership(membership), kind, what, actor)
}

/// The journal entry of something that happened to a key.
#[must_use]
pub fn api_key(key: &ApiKey, what: ApiKeyWhat, actor: &Actor) -> Entry {
    let (kind, what) = match what {
        ApiKeyWhat::Created { .. } => ("api_key_created", What::ApiKeyCreated(ApiKeyCreated {})),
        ApiKeyWhat::Revoked => ("api_key_revoked", What::ApiKeyRevoked(ApiKeyRevoked {})),
    };
    entry(key, Said::ApiKey(records::api_key(key)), kind, what, actor)
}

/// A record as it is now, for a snapshot: nothing happened.
#[must_use]
pub fn snapshot(record: &AnyRecord) -> Vec<u8> {
    let record = match record {
        AnyRecord::Tenant(tenant) => said_tenant(tenant),
        AnyRecord::Person(person) => said_person(person),
        AnyRecord::Team(team) => said_team(team),
        AnyRecord::Membership(membership) => said_membership(membership),
    };
    DirectoryEvent { record: Some(record), actor: None, what: None }.encode_to_vec()
}

fn said_tenant(tenant: &Tenant) -> Said {
    Said::Tenant(records::tenant(tenant))
}

fn said_person(person: &Person) -> Said {
    let nameless = Person { display_name: Private::default(), email: Private::default(), ..person.clone() };
    Said::Person(records::person(&nameless))
}

fn said_team(team: &Team) -> Said {
    Said::Team(records::team(team))
}

fn said_membership(membership: &Membership) -> Said {
    Said::Membership(records::membership(membership))
}

fn entry(record: &impl Record, said: Said, kind: &'static str, what: What, actor: &Actor) -> Entry {
    let event = DirectoryEvent { record: Some(said), actor: Some(actor.clone()), what: Some(what) };
    Entry { record_id: record.id(), revision: record.revision(), kind, body: event.encode_to_vec() }
}
