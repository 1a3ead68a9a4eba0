//! What was agreed and whether it is kept: agreements, calendars and clocks.
//!
//! An incident that opens starts clocks ([`app::by_event`]), one for each target of the agreements
//! that cover it. A clock is a fold over the incident's events ([`domain::clock`]): pending pauses
//! it, reopening goes on, another priority counts anew from the start. Its time is business time
//! ([`domain::schedule`]). What is due comes in by [`app::by_timer`], which first catches up with
//! the incident service, so that nothing is told that was kept.
//!
//! People write agreements and calendars by gRPC ([`api`], [`app::commands`]). A running clock goes
//! on with what was agreed when it started.

pub mod api;
pub mod app;
pub mod config;
pub mod domain;
pub mod events;
pub mod store;

use std::sync::Arc;

use kit::{problem::BoxError, service::Context, timer::Sweep};
use proto::sla::v1::{internal_server::InternalServer, sla_service_server::SlaServiceServer};
use tonic::service::Routes;

pub use app::App;
pub use config::Settings;

/// The migrations of the schema, run by its owner.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Starts the service: relay, consumers, sweep, gRPC.
///
/// # Errors
/// Fails when the settings do not fit together or the address cannot be bound.
pub async fn start(context: Context, settings: Settings) -> Result<Arc<App>, BoxError> {
    settings.check()?;
    let relay = context.start_relay();
    let sweep = Arc::new(Sweep::new(context.database.clone(), "sla.clocks", Arc::clone(&context.clock)));
    let app = Arc::new(App::new(&context, settings, &relay, sweep.wake()));
    events::consume::follow(&context, &app);
    context.sweep(sweep, app.clone());
    let api = api::Api::new(Arc::clone(&app));
    let routes = Routes::new(SlaServiceServer::new(api.clone())).add_service(InternalServer::new(api));
    context.serve(routes).await?;
    Ok(app)
}
