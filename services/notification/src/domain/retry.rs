//! When a delivery is tried again: a timetable by method and by how the attempt ended.

use chrono::TimeDelta;

use super::Method;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver took it.
    Delivered,
    /// Not now; not before this time has passed, if the receiver said one.
    Retry(Option<TimeDelta>),
    /// The receiver is gone for good.
    Gone,
    /// The receiver, or our own rules, refused it for good.
    Refused,
    /// Nobody knows: the process ended before it could say.
    Unknown,
}

impl Outcome {
    /// Its name in the attempt log and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry(_) => "retry",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

const SECOND: i64 = 1;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// How long after the first, second, ... attempt the next one comes, in seconds.
pub const WEBHOOK: &[i64] = &[5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR];
/// The same for mail: a mail server that is away is mostly back soon.
pub const MAIL: &[i64] = &[5 * SECOND, MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR];
/// However long a receiver asks us to wait, no longer than this.
pub const RETRY_AFTER_AT_MOST: TimeDelta = TimeDelta::hours(24);

/// How long after attempt `number`, which ended like this, the next one comes; none means that it
/// was the last.
#[must_use]
pub fn next(method: Method, number: i32, outcome: Outcome) -> Option<TimeDelta> {
    let timetable = match method {
        Method::Mail => MAIL,
        Method::Webhook => WEBHOOK,
    };
    let place = usize::try_from(number).ok()?.checked_sub(1)?;
    let rest = TimeDelta::seconds(*timetable.get(place)?);
    match outcome {
        Outcome::Delivered | Outcome::Gone | Outcome::Refused => None,
        Outcome::Retry(asked) => Some(asked.map_or(rest, |asked| rest.max(asked.min(RETRY_AFTER_AT_MOST)))),
        // Nobody was told to wait: the same message goes out again at once.
        Outcome::Unknown => Some(TimeDelta::zero()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(method: Method, outcome: Outcome) -> Vec<Option<i64>> {
        (1..=7).map(|number| next(method, number, outcome).map(|rest| rest.num_seconds())).collect()
    }

    #[test]
    fn the_timetables_are_those_that_are_documented() {
        let webhook = [5, 300, 1_800, 7_200, 18_000, 36_000].map(Some);
        assert_eq!(seconds(Method::Webhook, Outcome::Retry(None)), [webhook.as_slice(), &[None]].concat());
        let mail = [5, 60, 300, 1_800, 7_200, 18_000].map(Some);
        assert_eq!(seconds(Method::Mail, Outcome::Retry(None)), [mail.as_slice(), &[None]].concat());
        assert_eq!(next(Method::Mail, 0, Outcome::Retry(None)), None);
    }

    #[test]
    fn only_what_may_come_through_later_is_tried_again() {
        for outcome in [Outcome::Delivered, Outcome::Gone, Outcome::Refused] {
            assert_eq!(seconds(Method::Webhook, outcome), [None; 7]);
        }
        assert_eq!(next(Method::Webhook, 1, Outcome::Unknown), Some(TimeDelta::zero()));
        assert_eq!(next(Method::Webhook, 7, Outcome::Unknown), None);
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_but_not_for_ever_nor_for_less() {
        let asked = |rest| next(Method::Webhook, 2, Outcome::Retry(Some(rest)));
        assert_eq!(asked(TimeDelta::seconds(1)), Some(TimeDelta::minutes(5)));
        assert_eq!(asked(TimeDelta::hours(1)), Some(TimeDelta::hours(1)));
        assert_eq!(asked(TimeDelta::days(400)), Some(RETRY_AFTER_AT_MOST));
    }
}
