//! Mails to a mail server.

use kit::config::Secret;
use notification::{
    Settings,
    domain::{DeliveryId, Message, Outcome},
    send::mail::{Mail, Mailer},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::JoinHandle,
};

/// A mail server that takes one mail, or answers its recipient like this; returns what it was told.
async fn server(recipient: &'static str) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 test\r\n").await.unwrap();
        let (mut told, mut line, mut within) = (String::new(), String::new(), false);
        loop {
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return told;
            }
            told.push_str(&line);
            let answer = match line.trim_end() {
                "." if within => "250 taken",
                _ if within => continue,
                "DATA" => "354 go on",
                "QUIT" => "221 bye",
                other if other.starts_with("RCPT") => recipient,
                _ => "250 ok",
            };
            within = answer.starts_with("354");
            stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
            if answer.starts_with("250 taken") || answer.starts_with('5') || answer.starts_with('4') {
                return told;
            }
        }
    });
    (port, serving)
}

fn mail() -> Mail {
    Mail {
        id: DeliveryId::draw(),
        thread: kit::id::draw(),
        to: "ann@example.com".to_owned(),
        at: chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
        message: Message {
            subject: "Störung\r\nBcc: eve@example.com".to_owned(),
            body: "Zeile 1\n.\nZeile 3".to_owned(),
        },
    }
}

#[tokio::test]
async fn a_mail_server_takes_it_whole_and_for_one_recipient() {
    let (port, serving) = server("250 ok").await;
    let settings = Settings { smtp_url: Secret::new(format!("smtp://127.0.0.1:{port}")), ..Settings::default() };
    let mail = mail();
    let report = Mailer::new(&settings).unwrap().send(&mail).await;
    assert_eq!((report.outcome, report.detail.as_str()), (Outcome::Delivered, "SMTP 250"));
    let told = serving.await.unwrap();
    assert_eq!(told.matches("RCPT TO").count(), 1);
    assert!(told.contains(&format!("Message-ID: <{}@localhost>", mail.id)), "{told}");
    assert!(!told.lines().any(|line| line.to_lowercase().starts_with("bcc:")), "{told}");
}

#[tokio::test]
async fn what_a_mail_server_refuses_for_good_is_not_tried_again() {
    for (answer, outcome, detail) in [
        ("550 no such user ann@example.com", Outcome::Refused, "SMTP 550"),
        ("451 later", Outcome::Retry(None), "SMTP 451"),
    ] {
        let (port, _serving) = server(answer).await;
        let settings = Settings { smtp_url: Secret::new(format!("smtp://127.0.0.1:{port}")), ..Settings::default() };
        let report = Mailer::new(&settings).unwrap().send(&mail()).await;
        assert_eq!((report.outcome, report.detail.as_str()), (outcome, detail), "{answer}");
    }
}
