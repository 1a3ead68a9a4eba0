//! What a fresh tenant starts with: business hours, and an agreement for everything.

use std::collections::BTreeSet;

use chrono::Weekday;
use chrono_tz::Tz;
use kit::{db::uncancelled, id::Tenant, journal::Cause};

use super::{App, Error, calendars_of, commands::activate};
use crate::{
    domain::{
        Agreement, AgreementId, AgreementKind, Calendar, CalendarId, Hours, Schedule,
        agreement::{NewAgreement, default_targets},
        calendar::NewCalendar,
    },
    store,
};

const CALENDAR: &str = "business-hours";

impl App {
    /// Gives a tenant a calendar of business hours and an active default agreement, unless it ever
    /// had a default agreement. Doing so again changes nothing.
    ///
    /// # Errors
    /// The database is away.
    pub async fn ensure_default_agreement(&self, tenant: &Tenant, zone: Option<Tz>) -> Result<(), Error> {
        let (app, tenant) = (self.clone(), tenant.clone());
        uncancelled(async move {
            let now = app.clock.now();
            let cause = Cause::timer("sla", "seed", tenant.clone(), now);
            let mut tx = app.database.begin(tenant.id).await?;
            if store::agreements::has_default(&mut tx, AgreementKind::Sla).await? {
                return Ok(tx.commit().await?);
            }
            let calendar_id = match store::calendars::id_of_name(&mut tx, CALENDAR).await? {
                Some(id) => id,
                None => {
                    let decision = Calendar::create(CalendarId::draw(), business_hours(zone.unwrap_or(Tz::UTC)), now)?;
                    store::calendars::commit(&mut tx, decision, &cause).await?.id
                }
            };
            let wanted = NewAgreement {
                display_name: "Default".to_owned(),
                kind: AgreementKind::Sla,
                service_id: None,
                targets: default_targets(calendar_id),
            };
            let calendars = calendars_of(&mut tx, &wanted.targets).await?;
            let draft = Agreement::create(AgreementId::draw(), wanted, &calendars, now)?;
            let draft = store::agreements::commit(&mut tx, draft, &cause).await?;
            activate(&mut tx, &draft, &cause, now).await?;
            app.end(tx, Ok(())).await
        })
        .await
    }
}

fn business_hours(zone: Tz) -> NewCalendar {
    let week = [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri];
    let hours = week.iter().filter_map(|day| Hours::new(*day, 9 * 60, 17 * 60)).collect();
    NewCalendar {
        name: CALENDAR.to_owned(),
        display_name: "Business hours".to_owned(),
        schedule: Schedule::new(zone, hours, BTreeSet::new()),
    }
}
