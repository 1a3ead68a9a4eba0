//! Changes from request to review: asked for, approved by somebody else, scheduled, carried out,
//! closed. It is copied from `incident`; read that first.
//!
//! A command comes in by gRPC ([`api`]): [`api::convert`] parses it, a method of [`app::App`] loads
//! the change and lets a pure verb of the [`domain`] decide, and [`store::changes::commit`] is the
//! only place that opens the decision: row, events and kept answer in one transaction. Then the
//! relay numbers and publishes what [`events::publish`] encoded.
//!
//! What matters here is what is approved. [`domain::plan`] says which fields are the plan and how an
//! edit of them takes an approval away; [`domain::state::LIFE`] what each type may do without one.
//!
//! Services and configuration items belong to the catalog, teams to the directory:
//! [`events::consume`] keeps which there are.

pub mod api;
pub mod app;
pub mod config;
pub mod domain;
pub mod events;
pub mod store;

use std::sync::Arc;

use kit::{problem::BoxError, service::Context};
use proto::change::v1::{change_service_server::ChangeServiceServer, internal_server::InternalServer};
use tonic::service::Routes;

pub use app::App;
pub use config::Settings;

/// The migrations of the schema, run by its owner.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Starts the service: relay, consumers, gRPC.
///
/// # Errors
/// Fails when the settings do not fit together or the address cannot be bound.
pub async fn start(context: Context, settings: Settings) -> Result<Arc<App>, BoxError> {
    settings.check()?;
    let relay = context.start_relay();
    let app = Arc::new(App::new(&context, &relay));
    events::consume::follow(&context, &app);
    let api = api::Api::new(Arc::clone(&app));
    let routes = Routes::new(ChangeServiceServer::new(api.clone())).add_service(InternalServer::new(api));
    context.serve(routes).await?;
    Ok(app)
}
