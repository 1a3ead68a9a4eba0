//! The tokens of pages and streams.

use kit::page::{self, Cursor, PageError};

/// Reads a token as each kind; what is accepted must be what we would have given out.
pub fn page_tokens(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let [token, filter, method] = super::parts(&text);
    match page::decode(token, filter, method) {
        Ok(Some(last)) => assert_eq!(page::encode(last, filter, method), token),
        Ok(None) => assert!(token.is_empty(), "only an empty token is the first page"),
        Err(error) => explained(error),
    }
    match page::decode_revision(token, filter, method) {
        Ok(Some(last)) => assert_eq!(page::encode_revision(last, filter, method), token),
        Ok(None) => assert!(token.is_empty(), "only an empty token is the first page"),
        Err(error) => explained(error),
    }
    match Cursor::decode(token) {
        Ok(cursor) => {
            assert!(cursor.position >= 0);
            assert_eq!(cursor.encode(), token);
        }
        Err(error) => explained(error),
    }
    let size = i32::from_le_bytes(std::array::from_fn(|place| input.get(place).copied().unwrap_or_default()));
    if let Ok(size) = page::page_size(size) {
        assert!((1..=500).contains(&size));
    }
}

fn explained(error: PageError) {
    assert!(!error.field().is_empty() && !error.to_string().is_empty());
}
