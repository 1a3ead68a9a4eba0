//! The inner token by which the product's services know who calls, made from the signing key in the
//! bench's own data folder: what the gateway gets from `directory` for an API key.

use std::{path::Path, time::Duration};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::json;

use crate::{options::Options, stats::now_ns};

const LIFE: Duration = Duration::from_secs(3600);

/// The token of `--person` in `--tenant` (`--slug`), signed with the key of `--keys`, as an
/// administrator.
///
/// # Errors
/// Fails when the folder holds no key of `directory`.
pub fn inner(options: &Options) -> anyhow::Result<String> {
    let folder: String = options.need("keys")?;
    let path = Path::new(&folder).join("directory.seed");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let seed = text
        .trim()
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair)?, 16).map_err(anyhow::Error::from));
    let seed: [u8; 32] =
        seed.collect::<anyhow::Result<Vec<u8>>>()?.try_into().map_err(|_| anyhow::anyhow!("not a seed"))?;
    let now = now_ns() / 1_000_000_000;
    let claims = json!({
        "iss": "directory", "aud": "itsm", "iat": now, "exp": now + LIFE.as_secs(),
        "who": {
            "person": options.need::<String>("person")?, "tenant": options.need::<String>("tenant")?,
            "slug": options.need::<String>("slug")?, "administrator": true, "teams": [], "scopes": [], "key": "bench",
        },
    });
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"JWT"}"#);
    let input = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = SigningKey::from_bytes(&seed).sign(input.as_bytes());
    Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes())))
}
