//! One RPC as bytes: the gateway knows messages by descriptor only, so requests and answers cross
//! tonic undecoded.

use std::{future::Future, time::Duration};

use axum::body::Bytes;
use bytes::{Buf as _, BufMut as _};
use http::uri::PathAndQuery;
use tonic::{
    Code, Request, Response, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

use crate::forward;

/// How long an answer, or the beginning of a stream, may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer: a page of 500 records with every text at its limit.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// Passes messages through as bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}

async fn client(channel: Channel) -> Result<Grpc<Channel>, Status> {
    let mut client = Grpc::new(channel).max_decoding_message_size(ANSWER_LIMIT);
    client.ready().await.map_err(|error| forward::away(&error))?;
    Ok(client)
}

/// Calls for one answer.
pub async fn unary(channel: Channel, path: PathAndQuery, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    in_time(async { client(channel).await?.unary(request, path, Raw).await }).await
}

/// Calls for a stream of answers.
pub async fn streaming(
    channel: Channel,
    path: PathAndQuery,
    request: Request<Bytes>,
) -> Result<Streaming<Bytes>, Status> {
    let response = in_time(async { client(channel).await?.server_streaming(request, path, Raw).await }).await?;
    Ok(response.into_inner())
}

/// Tells what the channel says from what a service says, which always gives details: its deadline
/// shows as CANCELLED, a broken connection as one of three codes.
async fn in_time<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Err(status)) if status.code() == Code::Cancelled => Err(forward::late()),
        Ok(Err(status))
            if status.details().is_empty()
                && matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal) =>
        {
            Err(forward::away(&status))
        }
        Ok(answer) => answer,
        Err(_) => Err(forward::late()),
    }
}
