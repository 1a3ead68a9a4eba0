//! From raw intake to alerts: integrations, and one alert for each firing episode.
//!
//! What sources say comes in by the intake stream ([`events::intake`]): each message is kept raw,
//! read ([`events::read`]), and each of its signals judged against what is known of its condition
//! ([`domain::condition`]), by the source's own time. A batch of messages is one transaction
//! ([`app::by_intake`]). What comes of it is an event: raised, repeated, cleared.
//!
//! Commands come in by gRPC ([`api`]) as in every service. Integrations have keys, whose digests
//! [`events::mirror`] shows the gateway, so that intake goes on while this service is down. An
//! alert that is not said again is cleared when it is due ([`app::by_timer`]).

pub mod api;
pub mod app;
pub mod config;
pub mod domain;
pub mod events;
pub mod store;

use std::sync::Arc;

use kit::{problem::BoxError, service::Context, timer::Sweep};
use proto::alert::v1::{alert_service_server::AlertServiceServer, internal_server::InternalServer};
use tonic::service::Routes;

pub use app::App;
pub use config::Settings;
pub use events::intake::ReceiveTime;

/// The migrations of the schema, run by its owner.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Starts the service: relay, consumers, intake, mirror of keys, sweep, gRPC.
///
/// # Errors
/// Fails when the settings do not fit together or the address cannot be bound.
pub async fn start(context: Context, settings: Settings) -> Result<Arc<App>, BoxError> {
    start_with(context, settings, ReceiveTime::Stream).await
}

/// Starts the service with another receive time than the stream's; for stories.
///
/// # Errors
/// As [`start`].
pub async fn start_with(context: Context, settings: Settings, receive_time: ReceiveTime) -> Result<Arc<App>, BoxError> {
    settings.check()?;
    let relay = context.start_relay();
    let sweep = Arc::new(Sweep::new(context.database.clone(), "alert.alerts", Arc::clone(&context.clock)));
    let app = Arc::new(App::new(&context, settings, &relay, sweep.wake()));
    events::consume::follow(&context, &app);
    events::intake::start(&context, &app, receive_time);
    events::mirror::start(&context, &app);
    context.sweep(sweep, app.clone());
    let api = api::Api::new(Arc::clone(&app));
    let routes = Routes::new(AlertServiceServer::new(api.clone())).add_service(InternalServer::new(api));
    context.serve(routes).await?;
    Ok(app)
}
