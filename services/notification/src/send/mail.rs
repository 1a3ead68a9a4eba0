//! Mails: by SMTP, or as files when there is no mail server. Plain text always; headers only through
//! lettre's builder, which encodes whatever could break one.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};
use kit::problem::BoxError;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::Report;
use crate::{
    config::Settings,
    domain::{self, DeliveryId, Outcome},
};

/// How long a mail server may take for one step.
const STEP_WITHIN: Duration = Duration::from_secs(10);
/// How long one mail may take.
const MAIL_WITHIN: Duration = Duration::from_secs(15);
const LONGEST: usize = 254;

/// Sends mails.
#[derive(Clone)]
pub struct Mailer {
    from: Mailbox,
    way: Way,
}

#[derive(Clone)]
enum Way {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Folder(PathBuf),
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.way {
            Way::Smtp(_) => "Mailer by SMTP",
            Way::Folder(_) => "Mailer to a folder",
        })
    }
}

/// One mail.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The delivery; its id makes the Message-ID.
    pub id: DeliveryId,
    /// The record that it is about: mails about the same one thread.
    pub thread: Uuid,
    /// To whom.
    pub to: String,
    /// When it was asked for.
    pub at: DateTime<Utc>,
    /// Subject line and text.
    pub message: domain::Message,
}

/// Judges a mail address.
///
/// # Errors
/// What is wrong with it.
pub fn check_address(text: &str) -> Result<(), String> {
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err("must not hold white space, line breaks or control characters".to_owned());
    }
    if text.len() > LONGEST {
        return Err(format!("must have at most {LONGEST} bytes"));
    }
    text.parse::<Address>().map(drop).map_err(|_| "must be a mail address such as ann@example.com".to_owned())
}

impl Mailer {
    /// Prepares to send as the settings say.
    ///
    /// # Errors
    /// Fails for a mail server or an address that is none.
    pub fn new(settings: &Settings) -> Result<Self, BoxError> {
        let from = Mailbox::new(Some("itsm".to_owned()), settings.mail_from.parse()?);
        let way = if settings.smtp_url.is_empty() {
            Way::Folder(settings.mail_folder.clone())
        } else {
            // The text of the error could show the password.
            let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(settings.smtp_url.expose());
            let builder = builder.map_err(|_| "notification.smtp_url: is no URL of a mail server")?;
            Way::Smtp(builder.timeout(Some(STEP_WITHIN)).build())
        };
        Ok(Self { from, way })
    }

    /// Sends one mail.
    pub async fn send(&self, mail: &Mail) -> Report {
        let message = match compose(&self.from, mail) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(delivery_id = %mail.id, %error, "a mail could not be composed");
                return Report { outcome: Outcome::Refused, detail: "the mail cannot be composed".to_owned() };
            }
        };
        match &self.way {
            Way::Folder(folder) => {
                let name = format!("{}-{}.eml", mail.at.format("%Y%m%dT%H%M%S%.3fZ"), mail.id);
                match write(folder, &name, &message.formatted()).await {
                    Ok(()) => Report { outcome: Outcome::Delivered, detail: format!("written as {name}") },
                    Err(error) => {
                        tracing::warn!(delivery_id = %mail.id, folder = %folder.display(), %error, "a mail could not be written");
                        Report {
                            outcome: Outcome::Retry(None),
                            detail: format!("cannot write the file: {}", error.kind()),
                        }
                    }
                }
            }
            Way::Smtp(transport) => match tokio::time::timeout(MAIL_WITHIN, transport.send(message)).await {
                Ok(Ok(response)) => Report { outcome: Outcome::Delivered, detail: format!("SMTP {}", response.code()) },
                Ok(Err(error)) => explain(&error),
                Err(_) => Report {
                    outcome: Outcome::Retry(None),
                    detail: format!("the mail server took more than {} s", MAIL_WITHIN.as_secs()),
                },
            },
        }
    }
}

/// What a mail server says may name the address, so that only its code is told.
fn explain(error: &lettre::transport::smtp::Error) -> Report {
    let outcome = if error.is_permanent() { Outcome::Refused } else { Outcome::Retry(None) };
    let detail = match error.status() {
        Some(code) => format!("SMTP {code}"),
        None if error.is_timeout() => "the mail server does not answer".to_owned(),
        None if error.is_tls() => "the mail server's TLS is not accepted".to_owned(),
        None => "the mail server cannot be reached".to_owned(),
    };
    Report { outcome, detail }
}

fn compose(from: &Mailbox, mail: &Mail) -> Result<Message, BoxError> {
    let domain = from.email.domain();
    let thread = format!("<{}@{domain}>", mail.thread);
    Ok(Message::builder()
        .message_id(Some(format!("<{}@{domain}>", mail.id)))
        .in_reply_to(thread.clone())
        .references(thread)
        .date(SystemTime::from(mail.at))
        .from(from.clone())
        .to(Mailbox::new(None, mail.to.parse()?))
        .subject(mail.message.subject.as_str())
        .header(ContentType::TEXT_PLAIN)
        .body(mail.message.body.clone())?)
}

/// Writes a file whole or not at all; the same delivery again writes the same file.
async fn write(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    tokio::fs::create_dir_all(folder).await?;
    let temporary = folder.join(format!(".{name}.part"));
    let mut file = tokio::fs::File::create(&temporary).await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    drop(file);
    tokio::fs::rename(&temporary, folder.join(name)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(subject: &str, body: &str) -> Mail {
        Mail {
            id: DeliveryId::draw(),
            thread: kit::id::draw(),
            to: "ann@example.com".to_owned(),
            at: DateTime::from_timestamp(1_800_000_000, 123_000_000).unwrap(),
            message: domain::Message { subject: subject.to_owned(), body: body.to_owned() },
        }
    }

    fn composed(mail: &Mail) -> String {
        let from = Mailbox::new(Some("itsm".to_owned()), "itsm@example.org".parse().unwrap());
        String::from_utf8(compose(&from, mail).unwrap().formatted()).unwrap()
    }

    #[test]
    fn an_address_cannot_carry_a_second_header() {
        for text in [
            "ann@example.com\r\nBcc: eve@example.com",
            "ann@example.com\n",
            "ann\0@example.com",
            "ann\u{2028}@example.com",
            "ann\u{2029}@example.com",
            "ann\u{85}@example.com",
            "ann@example.com, eve@example.com",
            "ann@example.com eve@example.com",
            "Ann <ann@example.com>",
            "ann",
            "@example.com",
            "ann@",
            "",
            "=?utf-8?q?a=0d=0aBcc:eve?=@exa mple.com",
            &format!("{}@example.com", "x".repeat(250)),
        ] {
            assert!(check_address(text).is_err(), "{text:?}");
        }
        for text in ["ann@example.com", "ann+night@mail.example.com", "ann@localhost"] {
            assert_eq!(check_address(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_subject_cannot_carry_a_second_header() {
        for subject in [
            "a\r\nBcc: eve@example.com",
            "a\nBcc: eve@example.com",
            "a\rBcc: eve@example.com",
            "a\u{2028}Bcc: eve@example.com",
            "a\0b",
        ] {
            let text = composed(&mail(subject, "hello"));
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let names: Vec<&str> = head
                .split("\r\n")
                .filter(|line| !line.starts_with([' ', '\t']))
                .filter_map(|line| line.split(':').next())
                .collect();
            assert!(!names.iter().any(|name| name.eq_ignore_ascii_case("bcc")), "{subject:?}: {head}");
            assert_eq!(names.iter().filter(|name| name.eq_ignore_ascii_case("subject")).count(), 1);
            assert_eq!(body, "hello");
        }
    }

    #[test]
    fn mails_about_the_same_record_thread_and_a_resend_keeps_its_id() {
        let first = mail("one", "hello");
        let second = Mail { id: DeliveryId::draw(), ..first.clone() };
        let line = |text: &str, name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert_eq!(line(&composed(&first), "References"), line(&composed(&second), "References"));
        assert_ne!(line(&composed(&first), "Message-ID"), line(&composed(&second), "Message-ID"));
        assert_eq!(line(&composed(&first), "Message-ID"), format!("Message-ID: <{}@example.org>", first.id));
        assert_eq!(composed(&first), composed(&first.clone()));
    }

    #[tokio::test]
    async fn the_same_delivery_again_writes_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { mail_folder: folder.path().join("mail"), ..Settings::default() };
        let (mailer, mail) = (Mailer::new(&settings).unwrap(), mail("one", "hello"));
        for _ in 0..2 {
            assert_eq!(mailer.send(&mail).await.outcome, Outcome::Delivered);
        }
        let names: Vec<_> =
            std::fs::read_dir(folder.path().join("mail")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [format!("20270115T080000.123Z-{}.eml", mail.id).as_str()]);
    }

    #[tokio::test]
    async fn a_mail_server_that_is_away_is_tried_again() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("smtp://127.0.0.1:{}", listener.local_addr().unwrap().port());
        drop(listener);
        let settings = Settings { smtp_url: kit::config::Secret::new(url), ..Settings::default() };
        let report = Mailer::new(&settings).unwrap().send(&mail("one", "hello")).await;
        assert_eq!(
            (report.outcome, report.detail.as_str()),
            (Outcome::Retry(None), "the mail server cannot be reached")
        );
    }
}
