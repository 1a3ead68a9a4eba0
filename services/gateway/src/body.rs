//! Bodies in memory: bounded each and all together, and a sender may take only so long.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, Bytes};
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::rest::problem::Problem;

/// The largest body, in bytes; the intake's formats have the same.
pub const BODY_LIMIT: usize = 1024 * 1024;
/// How long a sender may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What all bodies under way may take together, in units.
const BUDGET_UNITS: usize = 64 * 1024;
const UNIT: usize = 1024;

/// The memory that bodies may take together.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_UNITS)))
    }
}

impl Budget {
    /// Room for a body, given back when dropped. A body that does not say its size, or that will
    /// be inflated, gets room for the largest.
    pub fn room(&self, headers: &HeaderMap) -> Result<OwnedSemaphorePermit, Problem> {
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
        let bytes = match length {
            Some(length) if length > BODY_LIMIT => return Err(too_large()),
            Some(length) if !headers.contains_key(header::CONTENT_ENCODING) => length,
            _ => BODY_LIMIT,
        };
        let units = u32::try_from(bytes.div_ceil(UNIT).max(1)).unwrap_or(u32::MAX);
        let busy = |_| Problem::unavailable("OVERLOADED", "too many large requests at once; try again");
        self.0.clone().try_acquire_many_owned(units).map_err(busy)
    }
}

/// Reads a body.
pub async fn read(body: Body) -> Result<Bytes, Problem> {
    match tokio::time::timeout(TIMEOUT, Limited::new(body, BODY_LIMIT).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "MALFORMED_BODY", "the body broke off")),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT", "the body took too long")),
    }
}

/// More than the limit, as it came or inflated.
pub fn too_large() -> Problem {
    let detail = format!("the body is larger than the limit of {BODY_LIMIT} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", detail)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[tokio::test]
    async fn a_large_body_is_refused_before_it_is_read_and_while_it_is() {
        let large = HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from_static("1048577"))]);
        let problem = Budget::default().room(&large).unwrap_err();
        assert_eq!(problem.status, StatusCode::PAYLOAD_TOO_LARGE);
        let problem = read(Body::from(vec![0; BODY_LIMIT + 1])).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(read(Body::from(vec![0; BODY_LIMIT])).await.unwrap().len(), BODY_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_never_ends_is_not_waited_for() {
        let silent = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read(silent).await.unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
    }

    #[test]
    fn all_bodies_together_are_bounded() {
        let budget = Budget::default();
        let unknown = HeaderMap::new();
        let rooms: Vec<_> = (0..64).map(|_| budget.room(&unknown).unwrap()).collect();
        assert_eq!(budget.room(&unknown).unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
        drop(rooms);
        assert!(budget.room(&unknown).is_ok());
    }
}
