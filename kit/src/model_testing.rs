//! How the models of services are played: by chance, in bounded time, or as often as somebody asks.
//! For tests.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use proptest::{
    strategy::Strategy,
    test_runner::{Config, TestRunner},
};

/// After this time no new case begins, unless somebody asked for a number of them.
const AT_MOST: Duration = Duration::from_secs(15);

/// Plays cases of a strategy: `ITSM_PROPTEST_CASES` of them, or as many of the usual number as fit
/// into the time.
///
/// # Errors
/// Says which case failed, made as small as it gets, or that none ended in time.
pub fn play<S: Strategy>(strategy: &S, usual: u32, one: impl Fn(Config, S::Value)) -> Result<(), String> {
    #[expect(clippy::disallowed_methods, reason = "who runs the test says how much")]
    let asked = std::env::var("ITSM_PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let config =
        Config { cases: asked.unwrap_or(usual), failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let (began, done) = (Instant::now(), Cell::new(0));
    let mut runner = TestRunner::new(config.clone());
    let outcome = runner.run(strategy, |case| {
        if asked.is_some() || began.elapsed() < AT_MOST {
            one(config.clone(), case);
            done.set(done.get() + 1);
        }
        Ok(())
    });
    match outcome {
        Err(error) => Err(error.to_string()),
        Ok(()) if done.get() == 0 => Err(format!("no case ended within {AT_MOST:?}")),
        Ok(()) => Ok(()),
    }
}
