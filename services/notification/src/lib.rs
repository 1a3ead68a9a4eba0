//! The notification service: who is told what, by which way, and what became of it.
