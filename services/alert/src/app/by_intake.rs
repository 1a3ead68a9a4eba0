//! What messages of the intake stream make of alerts. A batch is one transaction: the raw messages,
//! what is made of them, the events. By the key of a raw message a redelivery is known, so that it
//! takes effect once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use kit::{
    caller::system,
    consumer::Failure,
    db::Transaction,
    id::{AlertId, Tenant, TenantId},
    journal::Cause,
};
use prost::bytes::Bytes;

use super::App;
use crate::{
    domain::{
        Alert, Condition, Heard, Integration, IntegrationState, Route, Said, Signal, Source,
        routing::{ci_names, route, service_names},
    },
    events::read::{self, Fault, Reading},
    store::{
        self,
        alerts::EXPIRE,
        conditions::Key,
        intake::{Place, Raw, Rejected},
        read_models::{Catalog, KnownTenant},
    },
};

/// How long an explanation may be.
const EXPLANATION_BYTES: usize = 4 * 1024;

/// A message of the intake stream.
#[derive(Debug, Clone)]
pub struct Message {
    /// Where it stands.
    pub place: Place,
    /// When it came in, by domain time.
    pub received_at: DateTime<Utc>,
    /// `alerts.<tenant>.<integration>`.
    pub subject: String,
    /// The headers that say what it is.
    pub headers: BTreeMap<String, String>,
    /// The body as it came.
    pub body: Bytes,
    /// The trace of its processing, where there is one; else what comes of it is in the sender's.
    pub trace_parent: Option<String>,
}

/// A message that was read and whose source was looked up.
struct Arrived<'a> {
    message: &'a Message,
    reading: Reading,
    tenant: Option<&'a KnownTenant>,
    integration: Option<Integration>,
}

/// A signal to be judged.
struct Work<'a> {
    place: Place,
    tenant: &'a Tenant,
    integration: &'a Integration,
    signal: &'a Signal,
}

/// What became of a message so far.
#[derive(Default)]
struct Effects {
    rejected: Vec<Rejected>,
    measured: HashMap<AlertId, (Tenant, Alert)>,
    explained: BTreeMap<i64, (Place, String)>,
}

impl App {
    /// Takes messages in, all in one transaction. Returns those left for later, because it cannot
    /// be known yet whether their tenant exists. With a `verdict` the messages are kept as
    /// rejected for it, and nothing is made of them.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub async fn take_in(&self, messages: &[Message], verdict: Option<&str>) -> Result<HashSet<Place>, Failure> {
        let (tenants, unknowable) = self.tenants_of(messages).await?;
        let later: HashSet<Place> = messages
            .iter()
            .filter(|message| unknowable && !tenants.contains_key(address(&message.subject).0))
            .map(|message| message.place)
            .collect();
        let taken: Vec<&Message> = messages.iter().filter(|message| !later.contains(&message.place)).collect();
        let now = self.clock.now();
        let named = taken.iter().filter_map(|message| tenants.get(address(&message.subject).0));
        let mut tx = self.database.begin_worker(named.map(|known| known.tenant.id)).await?;
        let mut arrived = look_up(&mut tx, &taken, &tenants, verdict).await?;
        let raw: Vec<Raw> = arrived.iter().map(Arrived::raw).collect();
        let mut fresh = store::intake::keep(&mut tx, &raw).await?;
        // A message that was given twice may stand twice in one batch; the first counts.
        arrived.retain(|arrived| fresh.remove(&(arrived.message.place.incarnation, arrived.message.place.sequence)));
        let mut effects = Effects::default();
        for one in &mut arrived {
            one.judge_source();
            effects.rejected.extend(one.rejected());
        }
        self.judge(&mut tx, &works(&arrived), &mut effects, now).await?;
        store::intake::reject(&mut tx, &effects.rejected).await?;
        let explained: Vec<(Place, String)> = effects.explained.into_values().collect();
        store::intake::explain(&mut tx, &explained).await?;
        tx.commit().await?;
        self.committed();
        Ok(later)
    }

    /// Judges signals in their order, and saves what becomes of them.
    async fn judge(
        &self,
        tx: &mut Transaction,
        works: &[Work<'_>],
        effects: &mut Effects,
        now: DateTime<Utc>,
    ) -> Result<(), Failure> {
        let keys: Vec<Key> = works.iter().map(Work::key).collect::<BTreeSet<_>>().into_iter().collect();
        if keys.is_empty() {
            return Ok(());
        }
        let mut conditions = store::conditions::lock(tx, &keys).await?;
        let before: Vec<_> = keys.iter().map(|key| conditions.get(key).map(known)).collect();
        let catalogs = catalogs(tx, works, &conditions).await?;
        for work in works {
            let Some(condition) = conditions.get_mut(&work.key()) else {
                return Err(Failure::Event("a condition that was locked is not there".into()));
            };
            let grace = self.settings.expiry_grace.delta();
            if self.progress.repeated(work.signal.received_at, grace)
                && let Some(due) = condition.due_before(work.signal.received_at)
            {
                let at = due.record().updated_at;
                let cause = Cause::timer("alert", EXPIRE, work.tenant.clone(), at);
                let alert = store::alerts::commit(tx, due, &cause);
                effects.measured.remove(&alert.id);
                condition.latest = Some(alert);
            }
            match condition.hear(work.source(), work.signal, || (AlertId::draw(), work.route(&catalogs)), now) {
                Heard::Nothing(stale) => effects.explain(work.place, &format!("{}: {stale}", work.signal.dedup_key)),
                Heard::Measured(alert) => {
                    effects.measured.insert(alert.id, (work.tenant.clone(), *alert));
                }
                Heard::Told(decision) => {
                    effects.measured.remove(&decision.record().id);
                    store::alerts::commit(tx, *decision, &work.cause(now));
                }
            }
        }
        let changed: Vec<(&Key, &Condition)> = keys
            .iter()
            .zip(before)
            .filter_map(|(key, before)| conditions.get(key).map(|condition| (key, condition, before)))
            .filter(|(_, condition, before)| *before != Some(known(condition)))
            .map(|(key, condition, _)| (key, condition))
            .collect();
        store::conditions::save(tx, &changed).await?;
        let mut measured: Vec<(Tenant, Alert)> = effects.measured.drain().map(|(_, measured)| measured).collect();
        measured.sort_by_key(|(_, alert)| alert.id);
        store::alerts::measure(tx, &measured).await?;
        Ok(())
    }

    /// The tenants that subjects name. Also whether it cannot be known of the others whether they
    /// exist, because the directory is away.
    async fn tenants_of(&self, messages: &[Message]) -> Result<(HashMap<String, KnownTenant>, bool), Failure> {
        let known = self.known_tenants().await?;
        let missing = |known: &HashMap<String, KnownTenant>| {
            messages.iter().any(|message| !known.contains_key(address(&message.subject).0))
        };
        if !missing(&known) {
            return Ok((known, false));
        }
        let mut page_token = String::new();
        loop {
            let page = match self.peers.snapshot("directory", None, page_token).await {
                Ok(page) => page,
                Err(status) => {
                    tracing::warn!(%status, "the directory cannot be asked for a tenant; its alerts wait");
                    return Ok((known, true));
                }
            };
            for entry in page.entries {
                let id: TenantId =
                    entry.tenant_id.parse().map_err(|error: uuid::Error| Failure::Event(error.into()))?;
                let mut tx = self.database.begin_worker([id]).await?;
                store::read_models::keep_tenant(&mut tx, &Tenant { id, slug: entry.tenant }, 0, true).await?;
                tx.commit().await?;
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        Ok((self.known_tenants().await?, false))
    }

    async fn known_tenants(&self) -> Result<HashMap<String, KnownTenant>, Failure> {
        let tenants = store::read_models::tenants(&self.database.workers).await?;
        Ok(tenants.into_iter().map(|known| (known.tenant.slug.clone(), known)).collect())
    }
}

/// What is saved of a condition beyond its alert.
fn known(condition: &Condition) -> (Option<DateTime<Utc>>, Option<AlertId>) {
    (condition.cleared_at, condition.latest.as_ref().map(|alert| alert.id))
}

/// Tenant and integration of `alerts.<tenant>.<integration>`.
fn address(subject: &str) -> (&str, &str) {
    subject.strip_prefix("alerts.").and_then(|rest| rest.split_once('.')).unwrap_or_default()
}

async fn look_up<'a>(
    tx: &mut Transaction,
    messages: &[&'a Message],
    tenants: &'a HashMap<String, KnownTenant>,
    verdict: Option<&str>,
) -> Result<Vec<Arrived<'a>>, sqlx::Error> {
    let (mut ids, mut names) = (Vec::new(), Vec::new());
    for message in messages {
        let (tenant, integration) = address(&message.subject);
        if let Some(known) = tenants.get(tenant) {
            ids.push(known.tenant.id.0);
            names.push(integration.to_owned());
        }
    }
    let found = store::integrations::find_all_named(tx, &ids, &names).await?;
    let found: HashMap<(TenantId, &str), &Integration> =
        found.iter().map(|(tenant, integration)| ((*tenant, integration.name.as_str()), integration)).collect();
    let arrived = messages.iter().map(|&message| {
        let (tenant, integration) = address(&message.subject);
        let tenant = tenants.get(tenant);
        let integration = tenant.and_then(|known| found.get(&(known.tenant.id, integration)).copied().cloned());
        let mut reading = read::read(&message.headers, &message.body, message.received_at);
        if let Some(trace) = &message.trace_parent {
            reading.signals.iter_mut().for_each(|signal| signal.trace_parent.clone_from(trace));
        }
        if let Some(reason) = verdict {
            reading = reading.instead("message", reason.to_owned(), &message.body);
        }
        Arrived { message, reading, tenant, integration }
    });
    Ok(arrived.collect())
}

impl Reading {
    /// Nothing of it can be used.
    fn instead(self, field: &str, reason: String, body: &[u8]) -> Self {
        let fault = Fault { field: field.to_owned(), reason, raw: read::raw(body) };
        Self { signals: Vec::new(), faults: vec![fault], ..self }
    }
}

impl Arrived<'_> {
    fn raw(&self) -> Raw {
        Raw {
            place: self.message.place,
            subject: self.message.subject.clone(),
            tenant: self.tenant.map(|known| known.tenant.id),
            integration: self.integration.as_ref().map(|integration| integration.id),
            format: self.reading.format,
            headers: self.message.headers.clone(),
            body: self.message.body.clone(),
        }
    }

    /// A message whose source does not exist or is disabled is rejected whole.
    fn judge_source(&mut self) {
        let (tenant, integration) = address(&self.message.subject);
        let reason = match (self.tenant, &self.integration) {
            (None, _) => format!("there is no tenant {tenant}"),
            (Some(known), _) if !known.active => format!("the tenant {tenant} is suspended"),
            (Some(_), None) => format!("there is no integration {integration}"),
            (Some(_), Some(found)) if found.state == IntegrationState::Disabled => {
                format!("the integration {integration} is disabled")
            }
            (Some(_), Some(_)) => return,
        };
        let reading = Reading { format: self.reading.format, signals: Vec::new(), faults: Vec::new() };
        self.reading = reading.instead("subject", reason, &self.message.body);
    }

    fn rejected(&self) -> impl Iterator<Item = Rejected> {
        self.reading.faults.iter().map(|fault| Rejected {
            id: kit::id::draw(),
            tenant: self.tenant.map(|known| known.tenant.id),
            integration: self.integration.as_ref().map(|integration| integration.id),
            place: self.message.place,
            format: self.reading.format,
            field: fault.field.clone(),
            reason: fault.reason.clone(),
            raw: fault.raw.clone(),
            received_at: self.message.received_at,
        })
    }
}

fn works<'a>(arrived: &'a [Arrived<'a>]) -> Vec<Work<'a>> {
    let mut works = Vec::new();
    for one in arrived {
        if let (Some(known), Some(integration)) = (one.tenant, &one.integration) {
            let work = |signal| Work { place: one.message.place, tenant: &known.tenant, integration, signal };
            works.extend(one.reading.signals.iter().map(work));
        }
    }
    works
}

impl<'a> Work<'a> {
    fn key(&self) -> Key {
        Key { tenant: self.tenant.id, integration: self.integration.id, dedup_key: self.signal.dedup_key.clone() }
    }

    fn source(&self) -> Source<'a> {
        Source { id: self.integration.id, name: &self.integration.name, open_from: self.integration.open_incident_from }
    }

    fn cause(&self, now: DateTime<Utc>) -> Cause {
        Cause {
            tenant: self.tenant.clone(),
            actor: system("alert", "intake", None),
            at: now,
            call: None,
            trace_parent: self.signal.trace_parent.clone(),
        }
    }

    fn route(&self, catalogs: &HashMap<TenantId, Catalog>) -> Route {
        let integration = (self.integration.service_id, self.integration.team_id);
        let Some(catalog) = catalogs.get(&self.tenant.id) else {
            return Route { team_id: integration.1, ..Route::default() };
        };
        route(
            &self.signal.content.labels,
            |name| catalog.services_by_name.get(name).copied(),
            |name| catalog.items_by_name.get(name).copied(),
            |id| catalog.services.get(&id).copied(),
            integration,
        )
    }
}

impl Effects {
    fn explain(&mut self, place: Place, text: &str) {
        let (_, explanation) = self.explained.entry(place.sequence).or_insert_with(|| (place, String::new()));
        if explanation.len() + text.len() < EXPLANATION_BYTES {
            if !explanation.is_empty() {
                explanation.push_str("; ");
            }
            explanation.push_str(text);
        }
    }
}

/// What the catalog says of the sources that may raise an alert; a storm of repeats asks nothing.
async fn catalogs(
    tx: &mut Transaction,
    works: &[Work<'_>],
    conditions: &BTreeMap<Key, Condition>,
) -> Result<HashMap<TenantId, Catalog>, sqlx::Error> {
    let mut wanted: HashMap<TenantId, (BTreeSet<String>, BTreeSet<uuid::Uuid>)> = HashMap::new();
    let ends = |work: &&Work<'_>| matches!(work.signal.said, Said::Cleared { .. });
    let ending: HashSet<Key> = works.iter().filter(ends).map(Work::key).collect();
    for work in works {
        let active = conditions.get(&work.key()).and_then(Condition::active);
        let goes_on = active.is_some_and(|alert| alert.expires_at.is_none_or(|end| end > work.signal.received_at));
        if goes_on && !ending.contains(&work.key()) {
            continue;
        }
        let (names, ids) = wanted.entry(work.tenant.id).or_default();
        names.extend(service_names(&work.signal.content.labels).chain(ci_names(&work.signal.content.labels)));
        ids.extend(work.integration.service_id.map(|id| id.0));
    }
    let mut catalogs = HashMap::new();
    for (tenant, (names, ids)) in wanted {
        let names: Vec<String> = names.into_iter().collect();
        let ids: Vec<uuid::Uuid> = ids.into_iter().collect();
        catalogs.insert(tenant, store::read_models::catalog(tx, tenant, &names, &ids).await?);
    }
    Ok(catalogs)
}
