//! A normal change goes its way: requested, approved by another, scheduled, carried out, closed.
//! Its requester cannot approve it, and editing the plan takes the approval back.

use chrono::TimeDelta;
use itsm_tests::world::World;
use proto::{
    change::v1::{
        ApproveChangeRequest, Change, ChangeState, ChangeType, CloseChangeRequest, CompleteChangeRequest,
        CreateChangeRequest, RequestChangeRequest, Risk, ScheduleChangeRequest, StartChangeRequest,
        UpdateChangeRequest, change_service_client::ChangeServiceClient,
    },
    common::v1::Role,
};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_normal_change_needs_another_pair_of_eyes() {
    let world = World::begin().await;
    let (rita, max) = (world.member("Rita", Role::Manager).await, world.member("Max", Role::Manager).await);
    let mut changes = ChangeServiceClient::new(world.stage.channel("change"));
    let draft = Change {
        title: "Move checkout to the new database".to_owned(),
        r#type: ChangeType::Normal.into(),
        risk: Risk::Significant.into(),
        reason: "The old one is full.".to_owned(),
        implementation_plan: "Switch the connection.".to_owned(),
        backout_plan: "Switch it back.".to_owned(),
        assigned_team_id: world.team.to_string(),
        ..Default::default()
    };
    let create = CreateChangeRequest { change: Some(draft), request_id: String::new() };
    let change = changes.create_change(world.stage.request(&rita, create)).await.unwrap().into_inner();
    assert!(change.number.starts_with("CHG"));
    let id = change.id.clone();

    changes
        .request_change(world.stage.request(&rita, RequestChangeRequest { id: id.clone(), ..Default::default() }))
        .await
        .unwrap();
    let approve = ApproveChangeRequest { id: id.clone(), ..Default::default() };
    let own = changes.approve_change(world.stage.request(&rita, approve.clone())).await.unwrap_err();
    assert!(matches!(own.code(), Code::FailedPrecondition | Code::PermissionDenied), "{own:?}");
    let approved = changes.approve_change(world.stage.request(&max, approve.clone())).await.unwrap().into_inner();
    assert_eq!(approved.state(), ChangeState::Approved);

    let edited = Change { backout_plan: "Restore the backup.".to_owned(), ..approved.clone() };
    let update = UpdateChangeRequest {
        change: Some(edited),
        update_mask: Some(prost_types::FieldMask { paths: vec!["backout_plan".to_owned()] }),
        request_id: String::new(),
    };
    let voided = changes.update_change(world.stage.request(&rita, update)).await.unwrap().into_inner();
    assert_eq!((voided.state(), voided.approval.is_none()), (ChangeState::Requested, true));
    changes.approve_change(world.stage.request(&max, approve)).await.unwrap();

    let schedule = ScheduleChangeRequest {
        id: id.clone(),
        planned_start_time: Some(kit::bus::timestamp(world.now() + TimeDelta::hours(1))),
        planned_end_time: Some(kit::bus::timestamp(world.now() + TimeDelta::hours(2))),
        ..Default::default()
    };
    changes.schedule_change(world.stage.request(&rita, schedule)).await.unwrap();
    world.later(TimeDelta::hours(1));
    changes
        .start_change(world.stage.request(&rita, StartChangeRequest { id: id.clone(), ..Default::default() }))
        .await
        .unwrap();
    let complete =
        CompleteChangeRequest { id: id.clone(), outcome_notes: "Went well.".to_owned(), ..Default::default() };
    changes.complete_change(world.stage.request(&rita, complete)).await.unwrap();
    let closed = changes
        .close_change(world.stage.request(&rita, CloseChangeRequest { id, ..Default::default() }))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(closed.state(), ChangeState::Closed);
    assert!(closed.actual_start_time.is_some() && closed.actual_end_time.is_some());
}
