//! Who there is: tenants, people, teams, memberships and API keys; and the exchange of a key for the
//! token by which all services know a caller.
//!
//! A command comes in by gRPC ([`api`]): [`api::convert`] parses it, a method of [`app::App`] loads
//! the record and lets a pure verb of the [`domain`] decide, and [`store::commit`] is the only place
//! that opens the decision: row, events and kept answer in one transaction. Then the relay numbers
//! and publishes what [`events::publish`] encoded, without names and addresses of people, which are
//! columns here and nowhere else.
//!
//! Sign-in ([`app::sign_in`]) is the one question that is asked before a tenant is known. The first
//! tenant and administrator come by [`provision_tenant`], which needs the database alone. The
//! directory follows nobody and nothing here is due at a time: an expired key is refused when it is
//! used.

pub mod api;
pub mod app;
pub mod config;
pub mod domain;
pub mod events;
pub mod store;

use std::sync::Arc;

use kit::{problem::BoxError, service::Context, token::Signer};
use proto::directory::v1::{directory_service_server::DirectoryServiceServer, internal_server::InternalServer};
use tonic::service::Routes;

pub use app::{
    App,
    provision::{Provisioned, provision_tenant},
};
pub use config::Settings;

/// The migrations of the schema, run by its owner.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Starts the service: relay, gRPC. Sign-in makes tokens with the signer, which is the directory's.
///
/// # Errors
/// Fails when the settings do not fit together or the address cannot be bound.
pub async fn start(context: Context, settings: Settings, signer: Signer) -> Result<Arc<App>, BoxError> {
    settings.check()?;
    let relay = context.start_relay();
    let app = Arc::new(App::new(&context, settings, signer, &relay));
    let api = api::Api::new(Arc::clone(&app));
    let routes = Routes::new(DirectoryServiceServer::new(api.clone())).add_service(InternalServer::new(api));
    context.serve(routes).await?;
    Ok(app)
}
