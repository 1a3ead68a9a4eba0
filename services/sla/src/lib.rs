//! The service level service: agreements, calendars and clocks.

pub mod domain;
