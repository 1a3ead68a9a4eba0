//! Tokens that say where a list, a history or a stream goes on.
//!
//! Opaque to callers and bound to the question they were given for, but no secret and no right:
//! whoever holds one still reads only what the database shows them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest, Sha256};
use uuid::Uuid;

const BY_ID: u8 = 1;
const BY_REVISION: u8 = 2;
const CURSOR: u8 = 3;

const DEFAULT_SIZE: i32 = 50;
const LARGEST_SIZE: i32 = 500;

/// A page or cursor that cannot be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Not a token of this kind.
    #[error("not a token this method gave out; leave it empty to start at the first page")]
    Malformed,
    /// A token for another question.
    #[error("given for another filter or method; repeat the same filter, or leave it empty to start again")]
    Foreign,
    /// Too many, or fewer than none.
    #[error("{0} is out of range; ask for 1 to 500, or 0 for 50")]
    Size(i32),
    /// Not a cursor.
    #[error("not one this service gave out; list the records, then watch without a cursor")]
    Cursor,
}

impl PageError {
    /// The field of the request that is at fault.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Malformed | Self::Foreign => "page_token",
            Self::Size(_) => "page_size",
            Self::Cursor => "cursor",
        }
    }
}

/// How many rows to give: 50 when the caller leaves it open, at most 500.
///
/// # Errors
/// A number outside 0 to 500.
pub const fn page_size(requested: i32) -> Result<i64, PageError> {
    match requested {
        0 => Ok(DEFAULT_SIZE as i64),
        1..=LARGEST_SIZE => Ok(requested as i64),
        _ => Err(PageError::Size(requested)),
    }
}

/// The token of the page after the record `last`, for `filter` in the method `rpc`.
///
/// `filter` is all that chooses the rows, as the caller wrote it: a method with further choosing
/// fields joins them into it.
#[must_use]
pub fn encode(last: Uuid, filter: &str, rpc: &str) -> String {
    seal(BY_ID, last.as_bytes(), &question(filter, rpc))
}

/// The record the page goes on after: none for an empty token, the first page.
///
/// # Errors
/// A token this method did not give, or gave for another filter.
pub fn decode(token: &str, filter: &str, rpc: &str) -> Result<Option<Uuid>, PageError> {
    Ok(open(token, BY_ID, filter, rpc)?.map(Uuid::from_bytes))
}

/// The token of the page after revision `last`; a history puts its record's id into `filter`.
#[must_use]
pub fn encode_revision(last: i64, filter: &str, rpc: &str) -> String {
    seal(BY_REVISION, &last.to_be_bytes(), &question(filter, rpc))
}

/// The revision the page goes on after: none for an empty token, the first page.
///
/// # Errors
/// As [`decode`].
pub fn decode_revision(token: &str, filter: &str, rpc: &str) -> Result<Option<i64>, PageError> {
    Ok(open(token, BY_REVISION, filter, rpc)?.map(i64::from_be_bytes))
}

/// Where a watcher stands in the feed of one service, in one life of its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Changes when the database is restored to an earlier state.
    pub incarnation: Uuid,
    /// The last position seen.
    pub position: i64,
}

impl Cursor {
    /// The opaque text for the caller.
    #[must_use]
    pub fn encode(&self) -> String {
        seal(CURSOR, self.incarnation.as_bytes(), &self.position.to_be_bytes())
    }

    /// Reads what [`Cursor::encode`] wrote.
    ///
    /// # Errors
    /// Any other text.
    pub fn decode(token: &str) -> Result<Self, PageError> {
        let (incarnation, position) = split::<16>(token, CURSOR).ok_or(PageError::Cursor)?;
        let (incarnation, position) = (Uuid::from_bytes(incarnation), i64::from_be_bytes(position));
        if position < 0 { Err(PageError::Cursor) } else { Ok(Self { incarnation, position }) }
    }
}

fn question(filter: &str, rpc: &str) -> [u8; 8] {
    let digest = Sha256::new().chain_update(rpc).chain_update([0]).chain_update(filter).finalize();
    std::array::from_fn(|index| digest[index])
}

fn seal(version: u8, place: &[u8], tail: &[u8; 8]) -> String {
    BASE64.encode([&[version], place, tail].concat())
}

fn open<const N: usize>(token: &str, version: u8, filter: &str, rpc: &str) -> Result<Option<[u8; N]>, PageError> {
    if token.is_empty() {
        return Ok(None);
    }
    let (place, tail) = split(token, version).ok_or(PageError::Malformed)?;
    if tail == question(filter, rpc) { Ok(Some(place)) } else { Err(PageError::Foreign) }
}

fn split<const N: usize>(token: &str, version: u8) -> Option<([u8; N], [u8; 8])> {
    // The longest token has 34 characters: what is longer is not worth decoding.
    let bytes = if token.len() > 64 { None } else { BASE64.decode(token).ok() }?;
    let (place, tail) = bytes.strip_prefix(&[version])?.split_at_checked(N)?;
    Some((place.try_into().ok()?, tail.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);

    #[test]
    fn a_token_leads_back_to_its_place_only_for_its_own_question() {
        let token = encode(ID, "state = open", "ListIncidents");
        assert_eq!(decode(&token, "state = open", "ListIncidents"), Ok(Some(ID)));
        assert_eq!(decode("", "state = open", "ListIncidents"), Ok(None));
        assert_eq!(decode(&token, "state = closed", "ListIncidents"), Err(PageError::Foreign));
        assert_eq!(decode(&token, "state = open", "ListChanges"), Err(PageError::Foreign));
        let token = encode_revision(7, "id", "ListRevisions");
        assert_eq!(decode_revision(&token, "id", "ListRevisions"), Ok(Some(7)));
        assert_eq!(decode_revision(&token, "other", "ListRevisions"), Err(PageError::Foreign));
        assert_eq!(decode(&token, "id", "ListRevisions"), Err(PageError::Malformed));
    }

    #[test]
    fn a_cursor_reads_back_and_other_text_does_not() {
        let cursor = Cursor { incarnation: ID, position: i64::MAX };
        assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        let negative = Cursor { incarnation: ID, position: -1 }.encode();
        let token = encode(ID, "", "");
        for text in ["", "x", "Aw", "ä", "====", negative.as_str(), token.as_str(), "A".repeat(1000).as_str()] {
            assert_eq!(Cursor::decode(text), Err(PageError::Cursor), "{text}");
            if text != token && !text.is_empty() {
                assert_eq!(decode(text, "", ""), Err(PageError::Malformed), "{text}");
            }
        }
    }

    #[test]
    fn sizes_have_a_default_and_a_limit() {
        assert_eq!([0, 1, 500].map(page_size), [Ok(50), Ok(1), Ok(500)]);
        assert_eq!([-1, 501].map(page_size), [Err(PageError::Size(-1)), Err(PageError::Size(501))]);
    }
}
