//! How far the intake is taken. An alert expires because it was not said again; as long as what was
//! said may still wait in the stream, or could not get there, nothing expires.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

/// How far the intake is taken.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Since when the intake is taken without a break; none while it is not.
    since: Option<DateTime<Utc>>,
    /// Up to which receive time it is taken; none means all of it.
    until: Option<DateTime<Utc>>,
}

impl Progress {
    /// The intake cannot be taken.
    pub(crate) fn away(&self) {
        self.change(|state| state.since = None);
    }

    /// The intake is taken, all of it or up to a receive time.
    pub(crate) fn taken(&self, now: DateTime<Utc>, until: Option<DateTime<Utc>>) {
        self.change(|state| *state = State { since: state.since.or(Some(now)), until });
    }

    /// Whether sources had the time to repeat themselves, at an instant, since the intake was away.
    pub(crate) fn repeated(&self, at: DateTime<Utc>, grace: TimeDelta) -> bool {
        self.read(|state| state.since.is_some_and(|since| at >= since + grace))
    }

    /// Whether all that was said before an instant is taken.
    pub(crate) fn reached(&self, instant: DateTime<Utc>) -> bool {
        self.read(|state| state.since.is_some() && state.until.is_none_or(|until| instant <= until))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_expires_whose_repeat_may_wait() {
        let at = |seconds: i64| DateTime::from_timestamp(1_767_225_600 + seconds, 0).unwrap();
        let grace = TimeDelta::seconds(60);
        let progress = Progress::default();
        assert!(!progress.repeated(at(1_000), grace) && !progress.reached(at(-1_000)), "not taken yet");
        progress.taken(at(0), Some(at(-30)));
        assert!(progress.reached(at(-30)) && !progress.reached(at(-29)), "behind");
        progress.taken(at(5), None);
        assert!(progress.reached(at(9_999)), "all of it");
        assert!(!progress.repeated(at(59), grace) && progress.repeated(at(60), grace), "since it began");
        progress.away();
        assert!(!progress.repeated(at(1_000), grace) && !progress.reached(at(0)));
        progress.taken(at(1_000), None);
        assert!(!progress.repeated(at(1_059), grace) && progress.repeated(at(1_060), grace), "since it came back");
    }
}
