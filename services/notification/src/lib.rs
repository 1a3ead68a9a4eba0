//! Notifications: who is told what, by which way, and what became of it.
//!
//! An event of another service comes in by [`events::consume`]; [`app::by_event`] asks which rules
//! want it told, whom they name and by which ways those people are reached, renders the message
//! ([`render`]) and commits one delivery a way. News that make a message needless (acknowledged,
//! resolved, cleared) cancel it while it waits.
//!
//! A delivery's timers bring it out: [`app::by_timer`] commits the row of an attempt, then
//! [`app::sending`] carries it out by [`send`], outside of any transaction, and commits what came of
//! it. So a crash repeats a message at most once, under the same id, and never loses one.
//!
//! People manage contact methods ([`app::ways`]), rules and templates ([`app::commands`]) by gRPC
//! ([`api`]). The signing secrets of webhooks are sealed ([`seal`]); addresses stay in columns.

pub mod api;
pub mod app;
pub mod config;
pub mod domain;
pub mod events;
pub mod render;
pub mod seal;
pub mod send;
pub mod store;

use std::sync::Arc;

use kit::{problem::BoxError, service::Context, timer::Sweep};
use proto::notification::v1::{
    internal_server::InternalServer, notification_service_server::NotificationServiceServer,
};
use tonic::service::Routes;

pub use app::App;
pub use config::Settings;

/// The migrations of the schema, run by its owner.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Starts the service: relay, consumers, sweep, sender, gRPC.
///
/// # Errors
/// Fails when the settings do not fit together or the address cannot be bound.
pub async fn start(context: Context, settings: Settings) -> Result<Arc<App>, BoxError> {
    settings.check()?;
    let relay = context.start_relay();
    let sweep = Arc::new(Sweep::new(context.database.clone(), "notification.deliveries", Arc::clone(&context.clock)));
    let app = Arc::new(App::new(&context, &settings, &relay, sweep.wake())?);
    events::consume::follow(&context, &app);
    context.tasks.spawn(context.service, "claimant", Arc::clone(&app).live_for_ever(context.holder.clone()));
    context.tasks.spawn(context.service, "sender", Arc::clone(&app).send_for_ever());
    let outbound = Arc::clone(&app.outbound);
    context.tasks.at_stop(async move { outbound.drain().await });
    context.sweep(sweep, app.clone());
    let api = api::Api::new(Arc::clone(&app));
    let routes = Routes::new(NotificationServiceServer::new(api.clone())).add_service(InternalServer::new(api));
    context.serve(routes).await?;
    Ok(app)
}
