//! Load, receivers and references of `make bench`, one program with a verb for each. Every verb is
//! bounded in count or time, listens on loopback or a socket only, and prints one line of JSON.

mod echo;
mod grpc;
mod http;
mod nats;
mod options;
mod pipeline;
mod repeat;
mod sink;
mod stats;
mod template;
mod token;

use options::Options;

const USAGE: &str = "itsm-bench sink|http|nats-publish|nats-generate|pipeline|repeat|echo|grpc --NAME VALUE...";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let options = Options::read(arguments)?;
    match verb.as_str() {
        "sink" => sink::run(&options).await,
        "http" => http::run(&options).await,
        "nats-publish" => nats::publish(&options).await,
        "nats-generate" => nats::generate(&options).await,
        "pipeline" => pipeline::run(&options).await,
        "repeat" => repeat::run(&options).await,
        "echo" => echo::run(&options).await,
        "grpc" => grpc::run(&options).await,
        _ => anyhow::bail!("{USAGE}"),
    }
}
