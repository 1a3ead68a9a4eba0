//! Streams outlive the check at their start, so they are checked again every two seconds and cut
//! when the credential is no longer good, when nobody can say so for too long, and when the gateway
//! stops. A caller who was cut resumes with its cursor.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures::{FutureExt as _, future::BoxFuture};
use http::HeaderMap;
use http_body::Frame;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    Credential, Refusal,
    cache::{GOOD_FOR, Keyring},
};

/// How long a stream goes on while nobody can say whether its credential is still good.
const DOUBT_LIMIT: Duration = Duration::from_millis(2_500);
/// How soon the question is put again then.
const DOUBT_RETRY: Duration = Duration::from_millis(250);

/// Resolves when a stream must end, with what its caller is told.
pub type Cut = BoxFuture<'static, Status>;

/// Watches over a stream.
pub fn watch(
    keyring: Arc<Keyring>,
    credential: Credential,
    stopping: CancellationToken,
    permit: OwnedSemaphorePermit,
) -> Cut {
    async move {
        let _permit = permit;
        tokio::select! {
            () = stopping.cancelled() => {
                kit::access::status(tonic::Code::Unavailable, "UNAVAILABLE", "the gateway is stopping; resume with your cursor")
            }
            refusal = refused(&keyring, &credential) => refusal.into(),
        }
    }
    .boxed()
}

async fn refused(keyring: &Keyring, credential: &Credential) -> Refusal {
    let (mut good_at, mut pause) = (Instant::now(), GOOD_FOR);
    loop {
        kit::clock::pause(pause).await;
        let asked_at = Instant::now();
        match keyring.judge(credential).await {
            Ok(_) => (good_at, pause) = (asked_at, GOOD_FOR),
            Err(Refusal::Denied) => return Refusal::Denied,
            Err(Refusal::Away) if asked_at.saturating_duration_since(good_at) >= DOUBT_LIMIT => return Refusal::Away,
            Err(Refusal::Away) => pause = DOUBT_RETRY,
        }
    }
}

/// A gRPC response body that ends with the trailers of the cut.
pub struct GuardedBody {
    inner: Body,
    cut: Option<Cut>,
}

impl GuardedBody {
    /// Guards a body.
    pub fn new(inner: Body, cut: Cut) -> Self {
        Self { inner, cut: Some(cut) }
    }
}

impl http_body::Body for GuardedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(cut) = &mut self.cut else { return Poll::Ready(None) };
        if let Poll::Ready(status) = cut.poll_unpin(cx) {
            self.cut = None;
            // Dropping the inner body resets the call at the service.
            self.inner = Body::empty();
            let mut trailers = HeaderMap::new();
            return match status.add_header(&mut trailers) {
                Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Err(error) => Poll::Ready(Some(Err(axum::Error::new(error)))),
            };
        }
        let frame = ready!(http_body::Body::poll_frame(Pin::new(&mut self.inner), cx));
        if frame.is_none() {
            self.cut = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() || http_body::Body::is_end_stream(&self.inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use http_body_util::BodyExt as _;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::auth::cache::tests::{Fake, credential};

    async fn setup() -> (Arc<Fake>, CancellationToken, Cut, Arc<Semaphore>) {
        let fake = Arc::new(Fake::default());
        let keyring = Arc::new(Keyring::new(Arc::new(fake.clone())));
        let (stopping, streams) = (CancellationToken::new(), Arc::new(Semaphore::new(1)));
        let permit = streams.clone().acquire_owned().await.unwrap();
        let cut = watch(keyring, credential("good"), stopping.clone(), permit);
        (fake, stopping, cut, streams)
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_credential_cuts_the_stream_within_five_seconds() {
        let (fake, _stopping, mut cut, streams) = setup().await;
        assert!(tokio::time::timeout(Duration::from_secs(60), &mut cut).await.is_err());
        let revoked_at = Instant::now();
        fake.revoked.store(true, Ordering::SeqCst);
        let status = tokio::time::timeout(Duration::from_secs(60), cut).await.unwrap();
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
        assert!(revoked_at.elapsed() < Duration::from_secs(5), "{:?}", revoked_at.elapsed());
        assert_eq!(streams.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn directory_away_for_a_moment_cuts_nothing_and_for_long_does() {
        let (fake, _stopping, mut cut, _) = setup().await;
        fake.away.store(true, Ordering::SeqCst);
        assert!(tokio::time::timeout(Duration::from_millis(2_400), &mut cut).await.is_err());
        fake.away.store(false, Ordering::SeqCst);
        assert!(tokio::time::timeout(Duration::from_secs(30), &mut cut).await.is_err());
        fake.away.store(true, Ordering::SeqCst);
        let status = tokio::time::timeout(Duration::from_secs(60), cut).await.unwrap();
        assert_eq!(status.code(), tonic::Code::Unavailable);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guarded_body_ends_with_trailers() {
        let (_fake, stopping, cut, _) = setup().await;
        let pending = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let mut body = GuardedBody::new(pending, cut);
        stopping.cancel();
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "14");
        assert!(body.frame().await.is_none());
    }
}
