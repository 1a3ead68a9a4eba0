//! What the port shows of itself: one page for people, and what probes and collectors read. The
//! page needs nothing from anywhere else, and tells nothing that needs a credential.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    response::{Html, IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::App;

/// `/`.
pub async fn home(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or("127.0.0.1:8080");
    let url = format!("{}://{host}", if app.tls { "https" } else { "http" });
    Html(render(env!("CARGO_PKG_VERSION"), &url, &app.readiness.waiting())).into_response()
}

/// `/openapi.json`.
pub async fn openapi(State(app): State<Arc<App>>) -> Response {
    json_response(StatusCode::OK, Body::from(app.openapi.clone()))
}

/// `/healthz`: the process lives.
pub async fn health() -> Response {
    json_response(StatusCode::OK, Body::from(r#"{"status":"ok"}"#))
}

/// `/readyz`: everything it needs at its start has come, or what it waits for.
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    let waiting = app.readiness.waiting();
    let stopping = app.stopping.is_cancelled();
    let ready = waiting.is_empty() && !stopping;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_response(status, Body::from(json!({"ready": ready, "stopping": stopping, "waitingFor": waiting}).to_string()))
}

/// `/metrics`, in Prometheus' text form.
pub async fn metrics() -> Response {
    let mut response = Response::new(Body::from(kit::metrics::render()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn json_response(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn render(version: &str, url: &str, waiting: &BTreeMap<String, String>) -> String {
    let health = if waiting.is_empty() {
        "<p class=\"good\">Ready.</p>".to_owned()
    } else {
        let items: String =
            waiting.iter().map(|(part, reason)| format!("<li>{}: {}</li>", escape(part), escape(reason))).collect();
        format!("<p class=\"wait\">Not ready yet; waiting for</p><ul>{items}</ul>")
    };
    PAGE.replace("{version}", &escape(version)).replace("{health}", &health).replace("{url}", &escape(url))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>itsm</title>
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; }
pre { overflow-x: auto; padding: .75rem 1rem; border: 1px solid; border-radius: .4rem; }
.good::before { content: "\2713\00a0"; } .wait::before { content: "\2026\00a0"; }
</style>
</head>
<body>
<main>
<h1>itsm</h1>
<p>IT service management core: alerts become incidents, start SLA clocks and reach the right person.</p>
<p>Version {version}.</p>
<h2>Health</h2>
{health}
<h2>First commands</h2>
<p>In the folder where <code>itsm up</code> runs:</p>
<pre>itsm incident list
itsm alert send --title "Disk full on db1" --severity critical
itsm incident watch</pre>
<p>The same without the client, from any machine that reaches this address:</p>
<pre>KEY=$(cat var/admin.key)
curl -H "Authorization: Bearer $KEY" {url}/v1/incidents

DEMO=$(cat var/demo.key)
curl -d '{"title":"Disk full on db1","severity":"critical"}' \
  {url}/intake/$DEMO/alerts</pre>
<h2>Where to read on</h2>
<ul>
<li><a href="/openapi.json">/openapi.json</a>: every REST call, as OpenAPI 3.1; gRPC answers on the same port</li>
<li><a href="/readyz">/readyz</a> and <a href="/healthz">/healthz</a>: for probes</li>
<li><a href="/metrics">/metrics</a>: for Prometheus</li>
</ul>
</main>
</body>
</html>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_is_waited_for_and_loads_nothing() {
        let waiting = BTreeMap::from([("gateway intake".to_owned(), "<keys>".to_owned())]);
        let page = render("1.2.3", "http://a\"b", &waiting);
        assert!(page.contains("Version 1.2.3.") && page.contains("gateway intake: &lt;keys&gt;"));
        assert!(page.contains("http://a&quot;b/v1/incidents"));
        assert!(!page.contains("{health}") && !page.contains("<script") && !page.contains("src="));
        assert!(render("1", "http://a", &BTreeMap::new()).contains("Ready."));
    }
}
