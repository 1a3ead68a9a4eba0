//! How bad a source says a condition is.

kit::words!(
    /// Worst first, so that the worse of two is the lesser.
    Severity {
        /// Users are hurt now.
        Critical = "CRITICAL",
        /// Users will be hurt soon.
        High = "HIGH",
        /// Someone should look today.
        Medium = "MEDIUM",
        /// Someone should look some day.
        Low = "LOW",
        /// Nothing to do.
        Info = "INFO",
    }
);

impl Severity {
    /// Whether it is as bad as `other` or worse.
    #[must_use]
    pub fn at_least(self, other: Self) -> bool {
        self <= other
    }

    /// The word as people write it.
    #[must_use]
    pub fn word(self) -> String {
        self.name().to_lowercase()
    }
}
