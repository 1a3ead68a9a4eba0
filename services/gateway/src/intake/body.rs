//! Reads a body without trusting it: what is in memory is bounded for each and for all together,
//! before and after inflating, and a sender may take only so long.

use std::{io::Read as _, sync::Arc, time::Duration};

use alert_formats::limits::BODY_BYTES;
use axum::body::{Body, Bytes};
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::rest::problem::Problem;

/// How long a sender may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What all bodies under way may take together, in units of [`UNIT`].
const BUDGET_UNITS: usize = 64 * 1024;
const UNIT: usize = 1024;

/// The memory that bodies may take together.
#[derive(Debug)]
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
        let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
        let bytes = match length {
            Some(length) if length > BODY_BYTES => return Err(too_large()),
            Some(length) if !headers.contains_key(header::CONTENT_ENCODING) => length,
            _ => BODY_BYTES,
        };
        let units = u32::try_from(bytes.div_ceil(UNIT).max(1)).unwrap_or(u32::MAX);
        self.0.clone().try_acquire_many_owned(units).map_err(|_| super::busy())
    }
}

/// Reads the body, inflated where it is gzip.
pub async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let gzip = encoding(headers)?;
    let collected = tokio::time::timeout(TIMEOUT, Limited::new(body, BODY_BYTES).collect()).await;
    let bytes = match collected {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err(Problem::new(StatusCode::BAD_REQUEST, "MALFORMED_BODY", "the body broke off")),
        Err(_) => return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT", "the body took too long")),
    };
    if gzip { inflate(&bytes) } else { Ok(bytes) }
}

fn encoding(headers: &HeaderMap) -> Result<bool, Problem> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let gzip = match encodings.next().map(|v| v.as_bytes().to_ascii_lowercase()).as_deref() {
        None | Some(b"" | b"identity") => Some(false),
        Some(b"gzip" | b"x-gzip") => Some(true),
        Some(_) => None,
    };
    gzip.filter(|_| encodings.next().is_none())
        .ok_or_else(|| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_ENCODING", "send the body plain or as gzip"))
}

/// Inflates up to the limit and one byte; a bomb never gets further.
fn inflate(compressed: &[u8]) -> Result<Bytes, Problem> {
    let mut inflated = Vec::new();
    let limit = u64::try_from(BODY_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(compressed)
        .take(limit)
        .read_to_end(&mut inflated)
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "MALFORMED_BODY", "the body is not gzip"))?;
    if inflated.len() > BODY_BYTES {
        return Err(too_large());
    }
    Ok(Bytes::from(inflated))
}

fn too_large() -> Problem {
    super::refused(alert_formats::Refused::BodyTooLarge)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use http::HeaderValue;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[tokio::test]
    async fn gzip_is_inflated_and_a_bomb_is_not() {
        let headers = headers(header::CONTENT_ENCODING, "gzip");
        let good = read(&headers, Body::from(gzip(b"hello"))).await.unwrap();
        assert_eq!(good, "hello");
        let exact = read(&headers, Body::from(gzip(&vec![b' '; BODY_BYTES]))).await.unwrap();
        assert_eq!(exact.len(), BODY_BYTES);
        let bomb = gzip(&vec![b' '; 100 * 1024 * 1024]);
        assert!(bomb.len() < 200 * 1024);
        let problem = read(&headers, Body::from(bomb)).await.unwrap_err();
        assert_eq!((problem.status, problem.reason.as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE"));
        let problem = read(&headers, Body::from("plain")).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn a_large_body_is_refused_before_it_is_read_and_while_it_is() {
        let budget = Budget::default();
        let problem = budget.room(&headers(header::CONTENT_LENGTH, "1048577")).unwrap_err();
        assert_eq!(problem.status, StatusCode::PAYLOAD_TOO_LARGE);
        let problem = read(&HeaderMap::new(), Body::from(vec![0; BODY_BYTES + 1])).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::PAYLOAD_TOO_LARGE);
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

    #[test]
    fn other_encodings_are_refused() {
        assert_eq!(encoding(&headers(header::CONTENT_ENCODING, "br")).unwrap_err().status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}
