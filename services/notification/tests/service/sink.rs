//! An HTTP receiver of webhooks that answers as a test says.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// How the receiver answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// With a status line and headers.
    Head(&'static str),
    /// With a body that never ends.
    Endless,
    /// Not at all.
    Hang,
}

/// What was received.
#[derive(Debug, Clone)]
pub struct Received {
    pub headers: HashMap<String, String>,
    pub body: String,
}

/// A receiver.
#[derive(Clone)]
pub struct Sink {
    pub port: u16,
    answer: Arc<Mutex<Answer>>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Sink {
    pub async fn open(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let sink = Self { port, answer: Arc::new(Mutex::new(answer)), received: Arc::default() };
        let serving = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sink = serving.clone();
                // A client that goes away ends its own connection only.
                tokio::spawn(async move { drop(sink.serve(stream).await) });
            }
        });
        sink
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    pub fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut first = String::new();
            if stream.read_line(&mut first).await? == 0 {
                return Ok(());
            }
            let mut headers = HashMap::new();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await?;
                let Some((name, value)) = line.trim_end().split_once(": ") else { break };
                headers.insert(name.to_lowercase(), value.to_owned());
            }
            let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
            stream.read_exact(&mut body).await?;
            self.received.lock().unwrap().push(Received { headers, body: String::from_utf8(body).unwrap() });
            let answer = self.answer.lock().unwrap().clone();
            match answer {
                Answer::Head(head) => {
                    stream.write_all(format!("HTTP/1.1 {head}\r\nContent-Length: 2\r\n\r\nno").as_bytes()).await?;
                }
                Answer::Endless => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
                    loop {
                        stream.write_all(format!("4000\r\n{}\r\n", "x".repeat(0x4000)).as_bytes()).await?;
                    }
                }
                Answer::Hang => {
                    tokio::time::timeout(Duration::from_secs(120), std::future::pending::<()>()).await.unwrap_or(())
                }
            }
        }
    }
}
