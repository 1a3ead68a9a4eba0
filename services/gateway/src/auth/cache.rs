//! What `directory` said about a credential, kept for moments: bounded in number and in age, asked
//! once however many ask at the same time. Credentials are kept as digests only.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, time::Instant};

use super::{Credential, Granted, Refusal};

/// How long a good answer is kept, counted from the question. With the re-check of streams at the
/// same interval and the time of a question, a revocation takes effect within five seconds.
pub const GOOD_FOR: Duration = Duration::from_secs(2);
/// How long a refusal is kept.
const BAD_FOR: Duration = Duration::from_secs(1);
/// How long a question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// How many answers are kept.
const ENTRY_LIMIT: usize = 10_000;
/// How many questions run at once, so that a flood of garbage does not become a flood at directory.
const ASK_LIMIT: usize = 64;

/// Whoever can say what a credential is worth.
pub trait Exchange: Send + Sync + 'static {
    /// Exchanges a credential for the inner token.
    fn exchange(&self, credential: Credential) -> BoxFuture<'static, Result<Granted, Refusal>>;
}

type Digest = [u8; 32];
type Answer = Shared<BoxFuture<'static, Result<Granted, Refusal>>>;

struct Entry {
    asked_at: Instant,
    answer: Answer,
}

impl Entry {
    fn is_fresh(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.asked_at);
        match self.answer.peek() {
            None => age < ASK_TIMEOUT,
            Some(Ok(_)) => age < GOOD_FOR,
            Some(Err(Refusal::Denied)) => age < BAD_FOR,
            Some(Err(Refusal::Away)) => false,
        }
    }
}

#[derive(Default)]
struct Entries {
    by_digest: HashMap<Digest, Entry>,
    /// In order of asking, so that the oldest goes first.
    order: VecDeque<(Digest, Instant)>,
}

impl Entries {
    fn insert(&mut self, digest: Digest, entry: Entry) {
        while let Some((oldest, asked_at)) = self.order.front().copied() {
            let stale = entry.asked_at.saturating_duration_since(asked_at) > GOOD_FOR;
            if !stale && self.order.len() < ENTRY_LIMIT {
                break;
            }
            self.order.pop_front();
            // An entry that was asked anew stands further back in the order.
            if self.by_digest.get(&oldest).is_some_and(|e| e.asked_at == asked_at) {
                self.by_digest.remove(&oldest);
            }
        }
        self.order.push_back((digest, entry.asked_at));
        self.by_digest.insert(digest, entry);
    }
}

/// Judges credentials.
pub struct Keyring {
    exchange: Arc<dyn Exchange>,
    entries: Mutex<Entries>,
    asking: Arc<Semaphore>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").finish_non_exhaustive()
    }
}

impl Keyring {
    /// A keyring that asks there.
    pub fn new(exchange: Arc<dyn Exchange>) -> Self {
        Self { exchange, entries: Mutex::default(), asking: Arc::new(Semaphore::new(ASK_LIMIT)) }
    }

    /// Exchanges a credential, or keeps to what was said about it a moment ago.
    pub async fn judge(&self, credential: &Credential) -> Result<Granted, Refusal> {
        self.answer(credential).await
    }

    fn answer(&self, credential: &Credential) -> Answer {
        let digest: Digest = Sha256::digest(credential.expose().as_bytes()).into();
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.by_digest.get(&digest)
            && entry.is_fresh(now)
        {
            return entry.answer.clone();
        }
        let answer = self.ask(credential.clone());
        entries.insert(digest, Entry { asked_at: now, answer: answer.clone() });
        answer
    }

    /// Asks in a task of its own, so that a caller who hangs up leaves the others their answer.
    fn ask(&self, credential: Credential) -> Answer {
        let (exchange, asking) = (self.exchange.clone(), self.asking.clone());
        let task = tokio::spawn(async move {
            let question = async {
                let _permit = asking.acquire_owned().await.map_err(|_| Refusal::Away)?;
                exchange.exchange(credential).await
            };
            tokio::time::timeout(ASK_TIMEOUT, question).await.unwrap_or(Err(Refusal::Away))
        });
        task.map(|joined| joined.unwrap_or(Err(Refusal::Away))).boxed().shared()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).by_digest.len()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{HeaderMap, HeaderValue, header};

    use super::*;

    /// A directory that knows the credentials that begin with `good` until they are revoked.
    #[derive(Default)]
    pub(crate) struct Fake {
        pub(crate) asked: AtomicUsize,
        pub(crate) revoked: std::sync::atomic::AtomicBool,
        pub(crate) away: std::sync::atomic::AtomicBool,
    }

    impl Exchange for Arc<Fake> {
        fn exchange(&self, credential: Credential) -> BoxFuture<'static, Result<Granted, Refusal>> {
            let fake = self.clone();
            async move {
                let count = fake.asked.fetch_add(1, Ordering::SeqCst);
                kit::clock::pause(Duration::from_millis(50)).await;
                if fake.away.load(Ordering::SeqCst) {
                    return Err(Refusal::Away);
                }
                if credential.expose().starts_with("good") && !fake.revoked.load(Ordering::SeqCst) {
                    let authorization = HeaderValue::from_str(&format!("Bearer inner{count}")).unwrap();
                    return Ok(Granted { authorization, tenant: "acme".into() });
                }
                Err(Refusal::Denied)
            }
            .boxed()
        }
    }

    pub(crate) fn credential(text: &str) -> Credential {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {text}")).unwrap());
        Credential::of(&headers).unwrap()
    }

    fn keyring() -> (Arc<Fake>, Keyring) {
        let fake = Arc::new(Fake::default());
        (fake.clone(), Keyring::new(Arc::new(fake)))
    }

    #[tokio::test(start_paused = true)]
    async fn many_ask_at_once_and_directory_hears_it_once() {
        let (fake, keyring) = keyring();
        let good = credential("good");
        let answers = futures::future::join_all((0..100).map(|_| keyring.judge(&good))).await;
        assert!(answers.iter().all(|a| a.as_ref().unwrap().authorization == "Bearer inner0"));
        assert_eq!(fake.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_revocation_takes_effect_within_two_seconds_and_a_refusal_is_forgotten_after_one() {
        let (fake, keyring) = keyring();
        let good = credential("good");
        keyring.judge(&good).await.unwrap();
        fake.revoked.store(true, Ordering::SeqCst);
        tokio::time::advance(Duration::from_millis(1_900)).await;
        keyring.judge(&good).await.unwrap();
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(keyring.judge(&good).await.unwrap_err(), Refusal::Denied);
        fake.revoked.store(false, Ordering::SeqCst);
        assert_eq!(keyring.judge(&good).await.unwrap_err(), Refusal::Denied);
        tokio::time::advance(Duration::from_millis(1_000)).await;
        keyring.judge(&good).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn that_directory_is_away_is_not_remembered() {
        let (fake, keyring) = keyring();
        fake.away.store(true, Ordering::SeqCst);
        assert_eq!(keyring.judge(&credential("good")).await.unwrap_err(), Refusal::Away);
        fake.away.store(false, Ordering::SeqCst);
        keyring.judge(&credential("good")).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_hangs_up_leaves_the_others_their_answer() {
        let (fake, keyring) = keyring();
        let good = credential("good");
        let gone = tokio::time::timeout(Duration::from_millis(10), keyring.judge(&good)).await;
        assert!(gone.is_err());
        keyring.judge(&good).await.unwrap();
        assert_eq!(fake.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_garbage_stays_bounded() {
        let (_, keyring) = keyring();
        for n in 0..ENTRY_LIMIT + 500 {
            drop(keyring.answer(&credential(&format!("bad{n}"))));
        }
        assert_eq!(keyring.len(), ENTRY_LIMIT);
    }
}
