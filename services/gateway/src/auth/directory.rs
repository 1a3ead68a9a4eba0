//! Asks `directory` what a credential is worth.

use futures::{FutureExt as _, future::BoxFuture};
use http::HeaderValue;
use kit::peer::Peers;
use proto::directory::v1::{AuthenticateRequest, AuthenticateResponse};
use tonic::Code;

use super::{Credential, Granted, Refusal, cache::Exchange};

/// The exchange at `directory`, by its `Internal/Authenticate`.
#[derive(Debug)]
pub struct Directory(pub Peers);

impl Exchange for Directory {
    fn exchange(&self, credential: Credential) -> BoxFuture<'static, Result<Granted, Refusal>> {
        let peers = self.0.clone();
        async move {
            let request = AuthenticateRequest { credential: credential.expose().to_owned() };
            let answer: Result<AuthenticateResponse, _> = peers.call("directory", "Authenticate", request).await;
            match answer {
                Ok(answer) => granted(&answer),
                Err(status) if matches!(status.code(), Code::Unauthenticated | Code::InvalidArgument) => Err(Refusal::Denied),
                Err(status) => {
                    tracing::warn!(code = ?status.code(), message = status.message(), "directory cannot check credentials");
                    Err(Refusal::Away)
                }
            }
        }
        .boxed()
    }
}

fn granted(answer: &AuthenticateResponse) -> Result<Granted, Refusal> {
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", answer.token)).map_err(|_| Refusal::Away)?;
    authorization.set_sensitive(true);
    Ok(Granted { authorization, tenant: answer.tenant.as_str().into() })
}
