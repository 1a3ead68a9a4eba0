//! The API as this client speaks it: plain HTTP and JSON, as anyone can with curl. It knows nothing
//! of nouns.

use std::{collections::VecDeque, time::Duration};

use reqwest::{Method, RequestBuilder, Response, Url, header};
use serde_json::{Value, json};

use super::failure::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// What waits between tries; one more try than there are pauses.
const PAUSES: [Duration; 3] = [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1)];
/// The longest that the server may make this client wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The most that the API puts on a page.
const PAGE_SIZE: usize = 500;
/// The longest line of a stream; an event is at most 256 KiB, and JSON may double that.
const LINE_LIMIT: usize = 2 * 1024 * 1024;

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Rest {
    http: reqwest::Client,
    base: Url,
    key: Option<String>,
}

/// What was asked for, and whether there is more.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// The records.
    pub records: Vec<Value>,
    /// Ask with it for the rest; empty at the end.
    pub next_page_token: String,
}

impl Rest {
    /// A client of the server at `url`.
    pub fn new(url: &str, key: Option<String>) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::Usage(format!("`{url}` is no URL of a server: {why}"));
        let base = Url::parse(url.trim_end_matches('/')).map_err(|error| wrong(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(wrong("write http://HOST:PORT or https://HOST".to_owned()));
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("itsm/", env!("CARGO_PKG_VERSION")));
        // A proxy of the network cannot reach what listens on this machine alone.
        if base.host_str().is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]") {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| wrong(error.to_string()))?;
        Ok(Self { http, base, key })
    }

    /// The same server, asked with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// Where the server is.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// `GET /v1/{path}`.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        let answer =
            self.send(|| Ok(self.authorised(Method::GET, path)?.query(query).timeout(REQUEST_TIMEOUT))).await?;
        self.json(answer).await
    }

    /// A mutation: `METHOD /v1/{path}`, tried again with the same key where no answer came.
    pub async fn mutate(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: &Value,
    ) -> Result<Value, Failure> {
        let idempotency_key = kit::id::draw().to_string();
        let answer = self
            .send(|| {
                Ok(self
                    .authorised(method.clone(), path)?
                    .query(query)
                    .header("idempotency-key", &idempotency_key)
                    .timeout(REQUEST_TIMEOUT)
                    .json(body))
            })
            .await?;
        self.json(answer).await
    }

    /// `POST /v1/{path}`.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.mutate(Method::POST, path, &[], body).await
    }

    /// Up to `limit` records of a collection, page after page.
    pub async fn list(&self, path: &str, field: &str, filter: &str, limit: usize) -> Result<Records, Failure> {
        let mut found = Records::default();
        loop {
            let size = limit.saturating_sub(found.records.len()).min(PAGE_SIZE).to_string();
            let mut query = vec![("pageSize", size.as_str())];
            if !filter.is_empty() {
                query.push(("filter", filter));
            }
            if !found.next_page_token.is_empty() {
                query.push(("pageToken", found.next_page_token.as_str()));
            }
            let mut page = self.get(path, &query).await?;
            if let Some(Value::Array(records)) = page.get_mut(field).map(Value::take) {
                found.records.extend(records);
            }
            found.next_page_token = page.get("nextPageToken").and_then(Value::as_str).unwrap_or_default().to_owned();
            if found.next_page_token.is_empty() || found.records.len() >= limit {
                return Ok(found);
            }
        }
    }

    /// The whole history of a record, oldest first.
    pub async fn history(&self, path: &str, id: &str) -> Result<Vec<Value>, Failure> {
        Ok(self.list(&format!("{path}/{id}/events"), "events", "", usize::MAX).await?.records)
    }

    /// `GET /v1/{path}:watch`: a stream of entries.
    pub async fn watch(&self, path: &str, query: &[(&str, &str)]) -> Result<Lines, Failure> {
        let path = format!("{path}:watch");
        let answer = self.send(|| Ok(self.authorised(Method::GET, &path)?.query(query))).await?;
        let answer = self.accepted(answer).await?;
        Ok(Lines { answer, url: self.url().to_owned(), buffer: Vec::new(), ready: VecDeque::new() })
    }

    /// `POST /intake/{key}/{path}`: a body as a source sends it.
    pub async fn intake(&self, key: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Value, Failure> {
        let mut url = self.base.clone();
        // Segment by segment, so that no key can mean another path.
        let joined = url.path_segments_mut().map(|mut segments| {
            segments.pop_if_empty().extend(["intake", key]).extend(path.split('/'));
        });
        joined.map_err(|()| Failure::Usage("the server's URL takes no path".to_owned()))?;
        let answer = self
            .send(|| {
                Ok(self
                    .http
                    .post(url.clone())
                    .header(header::CONTENT_TYPE, content_type)
                    .timeout(REQUEST_TIMEOUT)
                    .body(body.to_vec()))
            })
            .await?;
        self.json(answer).await
    }

    fn authorised(&self, method: Method, path: &str) -> Result<RequestBuilder, Failure> {
        let key = self.key.as_deref().ok_or_else(|| {
            let detail = "no API key: give --key, set ITSM_API_KEY, or run where `itsm up` left ./var/admin.key";
            Failure::no_key("NO_KEY", detail)
        })?;
        let mut url = self.base.clone();
        let joined = url.path_segments_mut().map(|mut segments| {
            segments.pop_if_empty().push("v1").extend(path.split('/'));
        });
        joined.map_err(|()| Failure::Usage("the server's URL takes no path".to_owned()))?;
        Ok(self.http.request(method, url).bearer_auth(key))
    }

    /// Sends until an answer came that means something; a request that was not answered is sent
    /// again as it was.
    async fn send(&self, request: impl Fn() -> Result<RequestBuilder, Failure>) -> Result<Response, Failure> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let tried = request()?.send().await;
            let pause = match (&tried, pauses.next()) {
                (Ok(answer), Some(pause)) if answer.status().as_u16() == 503 => asked_to_wait(answer).unwrap_or(pause),
                (Err(error), Some(pause)) if !error.is_builder() => pause,
                (Ok(_), _) => return tried.map_err(|error| self.unreachable(&error)),
                (Err(error), _) => return Err(self.unreachable(error)),
            };
            kit::clock::pause(pause).await;
        }
    }

    async fn accepted(&self, answer: Response) -> Result<Response, Failure> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.text().await.map_err(|error| self.unreachable(&error))?;
        Err(Failure::of_answer(self.url(), status.as_u16(), &body))
    }

    async fn json(&self, answer: Response) -> Result<Value, Failure> {
        let status = answer.status().as_u16();
        let body = self.accepted(answer).await?.bytes().await.map_err(|error| self.unreachable(&error))?;
        if body.is_empty() {
            return Ok(json!({}));
        }
        serde_json::from_slice(&body).map_err(|_| {
            let why = format!("it answers {status} with something other than JSON; is this itsm?");
            Failure::Unreachable { url: self.url().to_owned(), why }
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        Failure::Unreachable { url: self.url().to_owned(), why: innermost(error) }
    }
}

fn asked_to_wait(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// The cause that says most; the layers above it repeat the URL.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The entries of a stream, one JSON object a line.
#[derive(Debug)]
pub struct Lines {
    answer: Response,
    url: String,
    buffer: Vec<u8>,
    ready: VecDeque<Vec<u8>>,
}

impl Lines {
    /// The next entry; none when the server ended the stream.
    ///
    /// # Errors
    /// Fails when the stream broke, or ended with an error of the server's.
    pub async fn next(&mut self) -> Result<Option<Value>, Failure> {
        let broken = |why: String| Failure::Unreachable { url: self.url.clone(), why };
        loop {
            while let Some(line) = self.ready.pop_front() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                let entry: Value =
                    serde_json::from_slice(&line).map_err(|error| broken(format!("a line is not JSON: {error}")))?;
                return match entry.get("error") {
                    Some(problem) => {
                        let status = problem.get("status").and_then(Value::as_u64).unwrap_or(500);
                        let status = u16::try_from(status).unwrap_or(500);
                        Err(Failure::of_answer(&self.url, status, &problem.to_string()))
                    }
                    None => Ok(Some(entry)),
                };
            }
            let Some(chunk) = self.answer.chunk().await.map_err(|error| broken(innermost(&error)))? else {
                return Ok(None);
            };
            self.buffer.extend_from_slice(&chunk);
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                self.ready.push_back(std::mem::replace(&mut self.buffer, rest));
            }
            if self.buffer.len() > LINE_LIMIT {
                return Err(broken("a line of the stream does not end".to_owned()));
            }
        }
    }
}
