//! The settings of the notification service, with their defaults.

use std::path::PathBuf;

use kit::config::Secret;
use serde::{Deserialize, Serialize};

use crate::send::address::AllowList;

/// How messages leave.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The mail server, `smtps://user:password@host:465` or `smtp://host:587?tls=required`. Empty
    /// by default: mails are then written as files into `mail_folder`.
    pub smtp_url: Secret,
    /// The address that mails come from. Default `itsm@localhost`. Its domain also ends the
    /// Message-IDs.
    pub mail_from: String,
    /// Where mails are written as `.eml` files when there is no mail server. Default `mail`; `itsm
    /// up` sets the folder `mail` of its data folder.
    pub mail_folder: PathBuf,
    /// Private, loopback and other special addresses that webhooks may reach all the same: networks
    /// such as `10.1.0.0/16`, or `host:port`, which may then also be plain http. Empty by default.
    pub webhook_allow: Vec<String>,
    /// The key that seals the signing secrets of webhooks: 32 bytes as base64 or as 64 hexadecimal
    /// digits. Must be set.
    pub secret_key: Secret,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            smtp_url: Secret::default(),
            mail_from: "itsm@localhost".to_owned(),
            mail_folder: PathBuf::from("mail"),
            webhook_allow: Vec::new(),
            secret_key: Secret::default(),
        }
    }
}

impl Settings {
    /// Checks what the fields must hold.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn check(&self) -> Result<(), String> {
        AllowList::read(&self.webhook_allow).map_err(|entry| {
            format!("notification.webhook_allow: `{entry}` is neither a network such as 10.1.0.0/16 nor host:port")
        })?;
        crate::send::mail::check_address(&self.mail_from).map_err(|reason| format!("notification.mail_from: {reason}"))
    }
}
