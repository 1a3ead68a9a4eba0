//! What makes a new tenant useful at once: a mail way for its administrator, and one rule.

use kit::{
    caller::system,
    id::{PersonId, Tenant},
    journal::Cause,
    problem::Problem,
};

use super::{App, Error};
use crate::{
    domain::{
        ContactMethod, ContactMethodId, Method, Recipients, Rule, RuleId, contact_method::NewContactMethod,
        rule::Wording,
    },
    send::mail::check_address,
    store::{self, contact_methods, rules},
};

impl App {
    /// Sees to it that the administrator has a mail way and that the tenant has a rule. What is
    /// there already stays as it is, so that it may be asked for again and again.
    ///
    /// # Errors
    /// An address that is none, or the database is away.
    pub async fn ensure_defaults(
        &self,
        tenant: &Tenant,
        administrator: PersonId,
        mail_address: &str,
    ) -> Result<(), Error> {
        check_address(mail_address).map_err(|reason| Problem::invalid("mail_address", reason))?;
        let now = self.clock.now();
        let cause = Cause {
            tenant: tenant.clone(),
            actor: system("notification", "defaults", None),
            at: now,
            call: None,
            trace_parent: String::new(),
        };
        let mut tx = self.database.begin_worker([tenant.id]).await?;
        if !contact_methods::exists(&mut tx, tenant.id, administrator, Method::Mail).await? {
            let new = NewContactMethod {
                id: ContactMethodId::draw(),
                person_id: administrator,
                method: Method::Mail,
                display_name: "Mail".to_owned(),
                address: mail_address.to_owned(),
            };
            store::commit(&mut tx, ContactMethod::create(new, now), &cause).await?;
        }
        if !rules::any(&mut tx, tenant.id).await? {
            let wording = Wording {
                display_name: "incident opened: mail the assigned team, else the administrators".to_owned(),
                event_type: "incident.opened".to_owned(),
                recipients: Recipients { assigned_team: true, else_administrators: true, ..Recipients::default() },
                methods: [Method::Mail].into(),
                ..Wording::default()
            };
            store::commit(&mut tx, Rule::create(RuleId::draw(), wording, now)?, &cause).await?;
        }
        tx.commit().await?;
        self.committed();
        Ok(())
    }
}
