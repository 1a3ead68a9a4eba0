//! Priority from impact and urgency (ITIL): the default 4 x 4 matrix.

macro_rules! scale {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $level:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant = $level,)+ }

        impl $name {
            /// Every level, the most pressing first.
            pub const ALL: [Self; 4] = [$(Self::$variant),+];

            /// The level, 1 to 4; 1 is the most pressing.
            #[must_use]
            pub const fn level(self) -> i16 {
                self as i16
            }

            /// The level of a number, 1 to 4.
            #[must_use]
            pub fn of(level: i16) -> Option<Self> {
                Self::ALL.into_iter().find(|this| this.level() == level)
            }
        }
    };
}

scale!(
    /// How much business is hurt.
    Impact {
        /// The whole organisation or a vital business function.
        Extensive = 1,
        /// Several teams or an important service.
        Significant = 2,
        /// One team or a minor service.
        Moderate = 3,
        /// A single person.
        Minor = 4,
    }
);
scale!(
    /// How soon it hurts.
    Urgency {
        /// Damage grows by the minute.
        Critical = 1,
        /// Damage grows by the hour.
        High = 2,
        /// Damage grows by the day.
        Medium = 3,
        /// It can wait.
        Low = 4,
    }
);
scale!(
    /// The order of work.
    Priority {
        /// First.
        P1 = 1,
        /// Second.
        P2 = 2,
        /// Third.
        P3 = 3,
        /// Last.
        P4 = 4,
    }
);

use Priority::{P1, P2, P3, P4};

/// Rows by impact, columns by urgency.
const MATRIX: [[Priority; 4]; 4] = [[P1, P1, P2, P3], [P1, P2, P2, P3], [P2, P2, P3, P4], [P3, P3, P4, P4]];

/// The priority of an impact and an urgency, with the cell it came from in words.
#[must_use]
pub fn priority(impact: Impact, urgency: Urgency) -> (Priority, String) {
    let row = MATRIX[usize::from(impact.level().unsigned_abs()) - 1];
    let priority = row[usize::from(urgency.level().unsigned_abs()) - 1];
    (priority, format!("impact {} x urgency {} by the default matrix", impact.level(), urgency.level()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sixteen_cells_are_the_published_ones() {
        let text: Vec<String> = Impact::ALL
            .iter()
            .map(|i| Urgency::ALL.iter().map(|u| format!("{:?}", priority(*i, *u).0)).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(text, ["P1 P1 P2 P3", "P1 P2 P2 P3", "P2 P2 P3 P4", "P3 P3 P4 P4"]);
    }
}
