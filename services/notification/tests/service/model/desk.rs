//! The service under test, and how commands reach it.

use super::*;

/// The service under test, for all cases: each has incidents of its own; the way is one.
pub struct Desk {
    pub service: Service,
    pub sink: Sink,
    pub way: String,
    /// Sees everything.
    pub admin: Mutex<PgConnection>,
    pub runtime: Rc<Runtime>,
}

impl Desk {
    pub async fn open(runtime: Rc<Runtime>) -> Self {
        let mut service = Service::open().await;
        let sink = Sink::open(Reply::Takes.answer()).await;
        let person = service.administrator.clone();
        let (way, _) = service.contact(&person, wire::Method::Webhook, &sink.url()).await.unwrap();
        let told = wire::Rule { repeat_after_seconds: REPEAT_AFTER_SECONDS, ..rule("incident.opened") };
        service.rule(told).await.unwrap();
        let admin = Mutex::new(service.stage.admin().await);
        Self { service, sink, way: way.id, admin, runtime }
    }

    /// Waits until all that was said is applied, what is due was begun, and what was begun ended.
    pub async fn settled(&self) {
        self.service.caught_up().await;
        let now = self.service.stage.clock.now();
        eventually("the attempts end", || async {
            let statement = "select count(*) from notification.timer where due_at <= $1 or kind = 'recover'";
            let open: i64 =
                sqlx::query_scalar(statement).bind(now).fetch_one(&mut *self.admin.lock().await).await.unwrap();
            (open == 0).then_some(())
        })
        .await;
    }

    /// The deliveries about an incident.
    pub async fn about(&self, id: IncidentId) -> Vec<wire::Delivery> {
        let filter = format!("subject_record_id = \"{id}\"");
        let request = wire::ListDeliveriesRequest { filter, ..Default::default() };
        let ask = self.service.stage.request(&self.service.administrator, request);
        self.service.client.clone().list_deliveries(ask).await.unwrap().into_inner().deliveries
    }

    /// How many events each delivery has.
    pub async fn events(&self, ids: &[Uuid]) -> BTreeMap<Uuid, i64> {
        let rows = sqlx::query(
            "select record_id, count(*) as events from notification.journal where record_id = any ($1) group by record_id",
        )
        .bind(ids)
        .fetch_all(&mut *self.admin.lock().await)
        .await
        .unwrap();
        rows.iter().map(|row| (row.get("record_id"), row.get("events"))).collect()
    }

    pub async fn cancel(&self, id: &str, revision: Option<i64>, request_id: &str) -> Result<wire::Delivery, Status> {
        let message = wire::CancelDeliveryRequest { id: id.to_owned(), revision, request_id: request_id.to_owned() };
        let ask = self.service.stage.request(&self.service.administrator, message);
        Ok(self.service.client.clone().cancel_delivery(ask).await?.into_inner())
    }

    pub async fn test(&self, request_id: &str) -> wire::Delivery {
        let message = wire::TestContactMethodRequest {
            id: self.way.clone(),
            request_id: request_id.to_owned(),
            ..Default::default()
        };
        let ask = self.service.stage.request(&self.service.administrator, message);
        self.service.client.clone().test_contact_method(ask).await.unwrap().into_inner()
    }
}
