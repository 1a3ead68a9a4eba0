//! What only one noun does: alerts as a source sends them, whose key this is, test messages, and
//! memberships named by team and person.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::{
    arguments::{self, of_the_contract},
    connection::read,
    failure::Failure,
    names::{quoted, resolve_kind},
    noun::{Kind, Special},
    nouns::{CONTACT, DELIVERY},
    out::{remark, say},
    run::Run,
    value::{flag, items, number, text},
};

/// How long a test message may take before it is left to itself.
const TEST_PATIENCE: Duration = Duration::from_secs(10);
/// How often its state is asked for meanwhile.
const TEST_PAUSE: Duration = Duration::from_millis(200);
/// What may be posted at once.
const INTAKE_LIMIT: u64 = 1024 * 1024;

/// Does it.
pub async fn run(run: &Run, what: Special) -> Result<(), Failure> {
    match what {
        Special::SendAlert => send(run).await,
        Special::ClearAlert => clear(run).await,
        Special::WhoAmI => who_am_i(run).await,
        Special::TestPerson => test(run).await,
        Special::EndMembership => end_membership(run).await,
    }
}

fn integration_key(run: &Run) -> Result<String, Failure> {
    let given = arguments::text(&run.given, "integration-key").filter(|key| !key.is_empty()).map(str::to_owned);
    given.or_else(|| read(&run.connection.data.join("demo.key"))).ok_or_else(|| {
        let detail = "no integration key: give --integration-key, set ITSM_INTEGRATION_KEY, or run where `itsm up` \
                      left ./var/demo.key; `itsm integration create` makes one";
        Failure::no_key("NO_INTEGRATION_KEY", detail)
    })
}

async fn send(run: &Run) -> Result<(), Failure> {
    let key = integration_key(run)?;
    if let Some(file) = run.given.get_one::<PathBuf>("file") {
        return post_file(run, &key, file).await;
    }
    if arguments::text(&run.given, "title").is_none() {
        return Err(Failure::Usage("give a title, or a --file".to_owned()));
    }
    let mut alert = run.body().await?;
    if let Some(Value::String(severity)) = alert.get_mut("severity") {
        *severity = severity.to_lowercase();
    }
    alert.insert("status".to_owned(), json!("firing"));
    post(run, &key, "alerts", "application/json", Value::Object(alert).to_string().as_bytes()).await
}

async fn post_file(run: &Run, key: &str, file: &PathBuf) -> Result<(), Failure> {
    let unreadable = |why: String| Failure::Usage(format!("{}: {why}", file.display()));
    let length = std::fs::metadata(file).map_err(|error| unreadable(error.to_string()))?.len();
    if length > INTAKE_LIMIT {
        return Err(unreadable(format!("{length} bytes; the intake takes {INTAKE_LIMIT}")));
    }
    let body = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    let format = arguments::text(&run.given, "format").map_or_else(|| "GENERIC".to_owned(), of_the_contract);
    let is_batch = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let (path, content_type) = match format.as_str() {
        "ALERTMANAGER" => ("alertmanager", "application/json"),
        "PROMETHEUS" => ("api/v2/alerts", "application/json"),
        "CLOUDEVENTS" if is_batch => ("cloudevents", "application/cloudevents-batch+json"),
        "CLOUDEVENTS" => ("cloudevents", "application/cloudevents+json"),
        _ => ("alerts", "application/json"),
    };
    post(run, key, path, content_type, &body).await
}

async fn post(run: &Run, key: &str, path: &str, content_type: &str, body: &[u8]) -> Result<(), Failure> {
    let said = run.rest.intake(key, path, content_type, body).await?;
    if run.connection.json {
        return run.raw(&said);
    }
    let accepted = match number(&said, "accepted") {
        Some(1) => "accepted 1 alert".to_owned(),
        Some(count) => format!("accepted {count} alerts"),
        None => "accepted".to_owned(),
    };
    let intake_id = text(&said, "intakeId");
    say(&if intake_id.is_empty() { accepted } else { format!("{accepted}, intake {intake_id}") })?;
    for rejected in items(&said, "rejected") {
        remark(&format!("rejected: {} {}", text(rejected, "field"), text(rejected, "reason")));
    }
    Ok(())
}

async fn clear(run: &Run) -> Result<(), Failure> {
    let alert = arguments::text(&run.given, "alert");
    let dedup_key = arguments::text(&run.given, "dedup-key");
    match (alert, dedup_key) {
        (Some(alert), None) => {
            let id = resolve_kind(&run.rest, Kind::Alert, alert).await?;
            let said = run.rest.post(&format!("alerts/{id}:clear"), &json!({})).await?;
            if run.connection.json { run.raw(&said) } else { run.rows(run.noun.columns, &[said]).await }
        }
        (None, Some(dedup_key)) => {
            let key = integration_key(run)?;
            let body = json!({ "dedup_key": dedup_key, "title": dedup_key, "status": "cleared" });
            post(run, &key, "alerts", "application/json", body.to_string().as_bytes()).await
        }
        _ => Err(Failure::Usage(
            "give either an alert, to clear it by hand, or the --dedup-key it was sent with".to_owned(),
        )),
    }
}

async fn who_am_i(run: &Run) -> Result<(), Failure> {
    let caller = run.rest.get("me", &[]).await?;
    if run.connection.json {
        return run.raw(&caller);
    }
    let mut lines = vec![
        ("name", text(&caller, "displayName").to_owned()),
        ("tenant", text(&caller, "tenant").to_owned()),
        ("administrator", if flag(&caller, "administrator") { "yes" } else { "no" }.to_owned()),
    ];
    let mut names = super::names::Names::default();
    let teams = items(&caller, "teams");
    names.learn(&run.rest, teams.iter().map(|team| (Kind::Team, text(team, "teamId").to_owned())).collect()).await;
    let teams = teams.iter().map(|team| {
        format!("{} ({})", names.of(Kind::Team, text(team, "teamId")), super::format::word(text(team, "role")))
    });
    lines.push(("teams", teams.collect::<Vec<_>>().join(", ")));
    let scopes: Vec<&str> = items(&caller, "scopes").iter().filter_map(Value::as_str).collect();
    lines.push(("scopes", if scopes.is_empty() { "all".to_owned() } else { scopes.join(", ") }));
    lines.push(("person", text(&caller, "personId").to_owned()));
    lines.push(("server", run.rest.url().to_owned()));
    let shown =
        lines.iter().filter(|(_, value)| !value.is_empty()).map(|(title, value)| format!("{title:13}  {value}"));
    say(&shown.collect::<Vec<_>>().join("\n"))
}

/// Sends a test message by every active way of a person and waits a moment for what becomes of it.
async fn test(run: &Run) -> Result<(), Failure> {
    let name = arguments::text(&run.given, "person").unwrap_or_default();
    let person = resolve_kind(&run.rest, Kind::Person, name).await?;
    let filter = format!("person_id = {} AND state = ACTIVE", quoted(&person));
    let ways = run.rest.list(CONTACT.path, CONTACT.list_field, &filter, 50).await?.records;
    if ways.is_empty() {
        return Err(Failure::no_such("active contact method of", name));
    }
    let mut deliveries = Vec::new();
    for way in &ways {
        deliveries.push(run.rest.post(&format!("contactMethods/{}:test", text(way, "id")), &json!({})).await?);
    }
    let end = tokio::time::Instant::now() + TEST_PATIENCE;
    while deliveries.iter().any(|delivery| text(delivery, "state") == "PENDING") && tokio::time::Instant::now() < end {
        kit::clock::pause(TEST_PAUSE).await;
        for delivery in deliveries.iter_mut().filter(|delivery| text(delivery, "state") == "PENDING") {
            *delivery = run.rest.get(&format!("deliveries/{}", text(delivery, "id")), &[]).await?;
        }
    }
    if run.connection.json {
        return run.raw(&json!({ "deliveries": deliveries }));
    }
    run.rows(DELIVERY.columns, &deliveries).await?;
    for delivery in deliveries.iter().filter(|delivery| text(delivery, "state") != "DELIVERED") {
        let tries = items(delivery, "attempts");
        let said = tries.last().map_or("not tried yet", |attempt| text(attempt, "detail"));
        remark(&format!("by {}: {said}", super::format::word(text(delivery, "method"))));
    }
    Ok(())
}

async fn end_membership(run: &Run) -> Result<(), Failure> {
    let given = |name: &str| arguments::text(&run.given, name).unwrap_or_default();
    let team = resolve_kind(&run.rest, Kind::Team, given("team")).await?;
    let person = resolve_kind(&run.rest, Kind::Person, given("person")).await?;
    let filter = format!("team_id = {} AND person_id = {} AND state = ACTIVE", quoted(&team), quoted(&person));
    let found = run.rest.list(run.noun.path, run.noun.list_field, &filter, 1).await?.records;
    let Some(membership) = found.first() else {
        return Err(Failure::no_such("member", given("person")));
    };
    let said = run.rest.post(&format!("memberships/{}:end", text(membership, "id")), &json!({})).await?;
    if run.connection.json { run.raw(&said) } else { run.rows(run.noun.columns, &[said]).await }
}
