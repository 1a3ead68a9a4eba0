//! What people ask for about their contact methods. A way belongs to the person it reaches: they
//! and the administrators alone change it and see its address.

use chrono::{DateTime, Utc};
use kit::{
    caller::{Call, Person},
    db::uncancelled,
    id::PersonId,
    journal::Cause,
    problem::Problem,
    request::{self, Done},
};

use super::{App, Error, Target};
use crate::{
    domain::{
        ContactMethod, ContactMethodId, Delivery, DeliveryId, Message, Method, Subject,
        contact_method::NewContactMethod,
        delivery::NewDelivery,
        event::{self, Kind},
    },
    render::{self, About},
    seal::{SealError, SigningSecret},
    send::{address::check_url, mail::check_address},
    store::{self, SCHEMA, contact_methods, deliveries},
};

/// What a caller says of a new contact method.
#[derive(Debug, Clone)]
pub struct Create {
    /// Whom it reaches; the caller when not said.
    pub person_id: Option<PersonId>,
    /// By which way.
    pub method: Method,
    /// What it is.
    pub display_name: String,
    /// The mail address or the URL.
    pub address: String,
}

/// Whether a person may see the address of a way and change it.
#[must_use]
pub fn is_theirs(person: &Person, way: &ContactMethod) -> bool {
    person.administrator || person.id == way.person_id
}

fn unsealed(error: SealError) -> Problem {
    Problem::Internal(error.into())
}

fn permit(person: &Person, way: &ContactMethod) -> Result<(), Problem> {
    if is_theirs(person, way) {
        return Ok(());
    }
    Err(Problem::Denied("a contact method is changed by its person or an administrator".to_owned()))
}

type Answer = Result<Done<ContactMethod>, Error>;

impl App {
    /// Judges an address, and returns it as it is kept.
    fn check_address(&self, method: Method, address: String) -> Result<String, Problem> {
        let field = "contact_method.address";
        match method {
            Method::Mail => check_address(&address).map(|()| address).map_err(|reason| Problem::invalid(field, reason)),
            Method::Webhook => match check_url(&address, self.poster.allow()) {
                Ok(target) => Ok(target.url.into()),
                Err(forbidden) => Err(Problem::invalid(field, forbidden.to_string())),
            },
        }
    }

    /// Adds a way to reach oneself, or as administrator anybody. A webhook comes with its secret.
    ///
    /// # Errors
    /// An address that may not be used, an unknown person, or somebody else's way.
    pub async fn create_contact_method(
        &self,
        call: Call,
        create: Create,
    ) -> Result<(Done<ContactMethod>, Option<SigningSecret>), Error> {
        let app = self.clone();
        uncancelled(async move {
            let tenant = call.tenant().id;
            let person_id = create.person_id.unwrap_or(call.person.id);
            if person_id != call.person.id && !call.person.administrator {
                return Err(Problem::Denied("only administrators add ways for others".to_owned()).into());
            }
            let address = app.check_address(create.method, create.address)?;
            app.check_person(tenant, person_id, "contact_method.person_id").await?;
            let now = app.clock.now();
            let mut tx = app.database.begin(tenant).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok((Done::Before(kept), None));
                }
                let new = NewContactMethod {
                    id: ContactMethodId::draw(),
                    person_id,
                    method: create.method,
                    display_name: create.display_name,
                    address,
                };
                let way = store::commit(&mut tx, ContactMethod::create(new, now), &Cause::call(&call, now)).await?;
                let secret = match create.method {
                    Method::Mail => None,
                    Method::Webhook => Some(SigningSecret::draw().map_err(unsealed)?),
                };
                if let Some(secret) = &secret {
                    let sealed = app.sealer.seal(secret, way.id).map_err(unsealed)?;
                    contact_methods::keep_secret(&mut tx, way.id, &sealed).await?;
                }
                Ok((Done::Now(way), secret))
            }
            .await;
            let created = tx.end::<_, Error>(outcome).await?;
            app.committed();
            Ok(created)
        })
        .await
    }

    /// The secret of a webhook, for the same request that made it and comes again.
    ///
    /// # Errors
    /// Fails when the database is away or the secret cannot be opened.
    pub async fn secret_again(&self, call: &Call, id: ContactMethodId) -> Result<Option<SigningSecret>, Error> {
        let mut tx = self.database.begin(call.tenant().id).await?;
        let sealed = contact_methods::secret(&mut tx, id).await?;
        tx.commit().await?;
        let opened = sealed.map(|sealed| self.sealer.open(&sealed, id)).transpose();
        Ok(opened.map_err(unsealed)?)
    }

    /// Changes the name or the address.
    ///
    /// # Errors
    /// An address that may not be used, stale, or somebody else's way.
    pub async fn update_contact_method(
        &self,
        call: Call,
        target: Target,
        display_name: Option<String>,
        address: Option<String>,
    ) -> Answer {
        let address = match address {
            Some(address) => {
                let method = self.get::<ContactMethod>(call.tenant().id, target.id).await?.method;
                Some(self.check_address(method, address)?)
            }
            None => None,
        };
        self.command(call, target, permit, move |way: &ContactMethod, now| Ok(way.update(display_name, address, now)))
            .await
    }

    /// Uses it no more.
    ///
    /// # Errors
    /// Not found, stale, or somebody else's way.
    pub async fn disable_contact_method(&self, call: Call, target: Target) -> Answer {
        self.command(call, target, permit, |way: &ContactMethod, now| {
            Ok(way.disable("disabled by a person".to_owned(), now))
        })
        .await
    }

    /// Uses it again.
    ///
    /// # Errors
    /// Not found, stale, or somebody else's way.
    pub async fn enable_contact_method(&self, call: Call, target: Target) -> Answer {
        self.command(call, target, permit, |way: &ContactMethod, now| Ok(way.enable(now))).await
    }

    /// Sends a test message by the ordinary way: a delivery without a rule.
    ///
    /// # Errors
    /// Disabled, not found, stale, or somebody else's way.
    pub async fn test_contact_method(&self, call: Call, target: Target) -> Result<Done<Delivery>, Error> {
        let app = self.clone();
        uncancelled(async move {
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let way: ContactMethod = app.load(&mut tx, &call, target, permit).await?;
                way.usable()?;
                let (new, message) = test_of(&way, now);
                let decision = Delivery::request(new, now);
                Ok(Done::Now(deliveries::request(&mut tx, decision, message, &Cause::call(&call, now))))
            }
            .await;
            let done = tx.end::<_, Error>(outcome).await?;
            app.committed();
            Ok(done)
        })
        .await
    }
}

/// The delivery of a test message by a way.
fn test_of(way: &ContactMethod, now: DateTime<Utc>) -> (NewDelivery, Message) {
    let mut subject = Subject::bare(Kind::Test, way.id.0);
    subject.title.clone_from(&way.display_name);
    let event_id = kit::id::draw();
    let about = About { event_id, event_type: event::TEST, at: now, subject: &subject, rule: "" };
    let mut message = render::builtin(&about);
    if way.method == Method::Webhook {
        message.body = render::webhook(&about, &message);
    }
    let new = NewDelivery {
        id: DeliveryId::draw(),
        rule_id: None,
        event_id,
        event_type: event::TEST.to_owned(),
        subject_record_id: way.id.0,
        subject_record_number: String::new(),
        incident_id: None,
        person_id: way.person_id,
        contact_method_id: way.id,
        method: way.method,
        repeat_after_seconds: 0,
        reason: "a test".to_owned(),
    };
    (new, message)
}
