//! What administrators can do to their tenant.

use futures::FutureExt;
use kit::{caller::Call, id::TenantId};

use super::{Answer, App, Target};
use crate::{domain::Tenant, store};

impl App {
    /// Changes fields.
    ///
    /// # Errors
    /// Not found, or stale.
    pub async fn update_tenant(
        &self,
        call: Call,
        target: Target<TenantId>,
        display_name: Option<String>,
    ) -> Answer<Tenant> {
        self.command(call, move |work| {
            async move {
                let tenant: Tenant = target.load(&mut work.tx).await?;
                let decision = tenant.rename(display_name, work.now);
                Ok(store::commit(&mut work.tx, decision, &work.cause).await?)
            }
            .boxed()
        })
        .await
    }
}
