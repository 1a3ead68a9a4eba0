//! The catalog: what there is. Services, that users get or other services stand on, and
//! configuration items, that services are made of. It is copied from `incident`; read that first.
//!
//! A command comes in by gRPC ([`api`]): [`api::convert`] parses it, a method of [`app::App`] loads
//! the record and lets a pure verb of the [`domain`] decide, and `commit` of [`store::services`] or
//! [`store::configuration_items`] is the only place that opens the decision: row, events and kept
//! answer in one transaction. Then the relay numbers and publishes what [`events::publish`] encoded.
//! The two nouns share one life, one feed and one stream.
//!
//! Teams belong to the directory: [`events::consume`] keeps which there are.

pub mod api;
pub mod app;
pub mod config;
pub mod domain;
pub mod events;
pub mod store;

use std::sync::Arc;

use kit::{problem::BoxError, service::Context};
use proto::catalog::v1::{catalog_service_server::CatalogServiceServer, internal_server::InternalServer};
use tonic::service::Routes;

pub use app::App;
pub use config::Settings;

/// The migrations of the schema, run by its owner.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Starts the service: relay, consumer, gRPC.
///
/// # Errors
/// Fails when the settings do not fit together or the address cannot be bound.
pub async fn start(context: Context, settings: Settings) -> Result<Arc<App>, BoxError> {
    settings.check()?;
    let relay = context.start_relay();
    let app = Arc::new(App::new(&context, &relay));
    events::consume::follow(&context, &app);
    let api = api::Api::new(Arc::clone(&app));
    let routes = Routes::new(CatalogServiceServer::new(api.clone())).add_service(InternalServer::new(api));
    context.serve(routes).await?;
    Ok(app)
}
