//! The least a tonic server can do: one unary call that gives back what it got, on a Unix socket.

use std::{
    convert::Infallible,
    future::Ready,
    pin::Pin,
    task::{Context, Poll},
};

use prost::Message;
use serde_json::json;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, body::Body, server::NamedService, transport::Server};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::options::Options;

/// What is sent and given back: about as much as an incident.
#[derive(Clone, PartialEq, Message)]
pub struct Note {
    /// A line.
    #[prost(string, tag = "1")]
    pub title: String,
    /// More lines.
    #[prost(string, tag = "2")]
    pub text: String,
    /// A key.
    #[prost(string, tag = "15")]
    pub key: String,
}

struct GiveBack;

impl Service<Request<Note>> for GiveBack {
    type Response = Response<Note>;
    type Error = Status;
    type Future = Ready<Result<Response<Note>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Note>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "bench.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let codec: ProstCodec<Note, Note> = ProstCodec::default();
            Ok(tonic::server::Grpc::new(codec).unary(GiveBack, request).await)
        })
    }
}

/// Serves at `--socket` until it is ended.
///
/// # Errors
/// Fails when the socket cannot be made.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let path: String = options.need("socket")?;
    let listener = UnixListener::bind(&path)?;
    println!("{}", json!({"listening": path}));
    Server::builder().add_service(Echo).serve_with_incoming(UnixListenerStream::new(listener)).await?;
    Ok(())
}
