//! Incidents from new to closed: the model service. Read this one first, all others look alike.
//!
//! A command comes in by gRPC ([`api`]): [`api::convert`] parses it, a method of [`app::App`] loads
//! the incident and lets a pure verb of the [`domain`] decide, and [`store::incidents::commit`] is
//! the only place that opens the decision: row, events and kept answer in one transaction. Then the
//! relay numbers and publishes what [`events::publish`] encoded.
//!
//! What other services say comes in by [`events::consume`] and meets the same use cases: an alert
//! opens an incident, its clearing resolves it. What is due comes in by [`app::by_timer`].

pub mod api;
pub mod app;
pub mod config;
pub mod domain;
pub mod events;
pub mod store;

use std::sync::Arc;

use kit::{problem::BoxError, service::Context, timer::Sweep};
use proto::incident::v1::{incident_service_server::IncidentServiceServer, internal_server::InternalServer};
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
    let sweep = Arc::new(Sweep::new(context.database.clone(), "incident.incidents", Arc::clone(&context.clock)));
    let app = Arc::new(App::new(&context, settings, &relay, sweep.wake()));
    events::consume::follow(&context, &app);
    context.sweep(sweep, app.clone());
    let api = api::Api::new(Arc::clone(&app));
    let routes = Routes::new(IncidentServiceServer::new(api.clone())).add_service(InternalServer::new(api));
    context.serve(routes).await?;
    Ok(app)
}
