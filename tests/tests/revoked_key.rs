//! A key is revoked: the next exchange for a token is refused, like any other bad credential.

use itsm_tests::world::World;
use proto::{
    common::v1::Role,
    directory::v1::{
        ApiKey, AuthenticateRequest, AuthenticateResponse, CreateApiKeyRequest, RevokeApiKeyRequest,
        internal_client::InternalClient,
    },
};
use tonic::{Code, Status};

async fn signs_in(world: &World, credential: &str) -> Result<AuthenticateResponse, Status> {
    let mut client = InternalClient::new(world.stage.channel("directory"));
    let message = AuthenticateRequest { credential: credential.to_owned() };
    Ok(client.authenticate(world.stage.service_request("incident", "directory", message)).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_opens_nothing() {
    let world = World::begin().await;
    let bob = world.member("Bob", Role::Responder).await;
    let key = ApiKey { person_id: bob.id.to_string(), display_name: "Bob's laptop".to_owned(), ..Default::default() };
    let create = CreateApiKeyRequest { api_key: Some(key), request_id: String::new() };
    let created = world.directory().create_api_key(world.stage.request(&bob, create)).await.unwrap().into_inner();
    assert!(created.key.starts_with("itsm_"));
    signs_in(&world, &created.key).await.unwrap();

    let revoke = RevokeApiKeyRequest { id: created.api_key.unwrap().id, ..Default::default() };
    world.directory().revoke_api_key(world.stage.request(&bob, revoke)).await.unwrap();
    let refused = signs_in(&world, &created.key).await.unwrap_err();
    let garbage = signs_in(&world, "itsm_garbage").await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unauthenticated, garbage.message()));
}
