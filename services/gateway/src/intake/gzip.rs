//! Bodies that come compressed, inflated without trusting them: a bomb gets no further than the
//! limit of a body.

use std::io::Read as _;

use axum::body::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, StatusCode, header};

use crate::{
    body::{BODY_LIMIT, too_large},
    rest::problem::Problem,
};

/// The body as it was before the sender compressed it.
pub fn plain(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Problem> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encoding = encodings.next().map(|v| v.as_bytes().to_ascii_lowercase());
    match (encoding.as_deref(), encodings.next()) {
        (None | Some(b"" | b"identity"), None) => Ok(body),
        (Some(b"gzip" | b"x-gzip"), None) => inflate(&body),
        _ => {
            let detail = "send the body plain or as gzip";
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_ENCODING", detail))
        }
    }
}

/// Inflates up to the limit and one byte.
fn inflate(compressed: &[u8]) -> Result<Bytes, Problem> {
    let mut inflated = Vec::new();
    let limit = u64::try_from(BODY_LIMIT).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(compressed)
        .take(limit)
        .read_to_end(&mut inflated)
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "MALFORMED_BODY", "the body is not gzip"))?;
    if inflated.len() > BODY_LIMIT {
        return Err(too_large());
    }
    Ok(Bytes::from(inflated))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use http::HeaderValue;

    use super::*;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    fn as_sent(encoding: &'static str, body: Bytes) -> Result<Bytes, Problem> {
        plain(&HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(encoding))]), body)
    }

    #[test]
    fn gzip_is_inflated_and_a_bomb_is_not() {
        assert_eq!(as_sent("gzip", gzip(b"hello")).unwrap(), "hello");
        let exact = gzip(&vec![b' '; BODY_LIMIT]);
        assert_eq!(as_sent("GZIP", exact).unwrap().len(), BODY_LIMIT);
        let bomb = gzip(&vec![b' '; 100 * 1024 * 1024]);
        assert!(bomb.len() < 200 * 1024);
        let problem = as_sent("gzip", bomb).unwrap_err();
        assert_eq!((problem.status, &*problem.reason), (StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE"));
        let problem = as_sent("gzip", Bytes::from_static(b"plain")).unwrap_err();
        assert_eq!(problem.status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn other_encodings_are_refused() {
        for encoding in ["br", "gzip, gzip", "deflate"] {
            let problem = as_sent(encoding, Bytes::new()).unwrap_err();
            assert_eq!(problem.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{encoding}");
        }
    }
}
