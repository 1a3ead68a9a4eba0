//! Checks on bytes and text that need no parser.

use crate::fault::Fault;
use crate::{Refused, limits};

/// The body as text, when it is within the limits that can be seen without parsing it.
pub(crate) fn checked(body: &[u8]) -> Result<&str, Refused> {
    if body.len() > limits::BODY_BYTES {
        return Err(Refused::BodyTooLarge);
    }
    if deepest_nesting(body) > limits::NESTING_DEPTH {
        return Err(Refused::NestedTooDeep);
    }
    let text = std::str::from_utf8(body).map_err(|error| Refused::NotUtf8 { offset: error.valid_up_to() })?;
    // Windows tools write a byte order mark, which RFC 8259 lets a reader ignore.
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// How deep arrays and objects lie inside each other, counted over the bytes outside strings.
/// On what is not JSON it gives some number, and the parser refuses the text afterwards.
fn deepest_nesting(body: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in body {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }
    deepest
}

/// Text that the database can hold and that is not too long.
pub(crate) fn storable(text: String, field: &str, limit_bytes: usize) -> Result<String, Fault> {
    if text.len() > limit_bytes {
        return Err(Fault::too_large(field, "TEXT_TOO_LONG", limit_bytes, "bytes"));
    }
    if text.contains('\0') {
        return Err(Fault::new(field, "NUL_CHARACTER", "holds a NUL character"));
    }
    Ok(text)
}

/// The longest start of `text` that has at most `limit_bytes` bytes and ends between characters.
pub(crate) fn cut(text: &str, limit_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(limit_bytes)]
}

/// One line for people: white space and control characters become single spaces, and what is too
/// long ends in `…`. None when nothing is left.
pub(crate) fn line(text: &str) -> Option<String> {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if line.len() > limits::TITLE_BYTES {
        line.truncate(line.floor_char_boundary(limits::TITLE_BYTES - '…'.len_utf8()));
        line.push('…');
    }
    Some(line).filter(|line| !line.is_empty())
}

/// A link that is safe to show as one: the author of an alert is a stranger.
pub(crate) fn web_link(text: String) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let has_host = !rest.is_empty() && !rest.starts_with(['/', '?', '#']);
    let is_clean = !rest.contains(|c: char| c.is_whitespace() || c.is_control());
    (is_web && has_host && is_clean).then_some(text)
}
