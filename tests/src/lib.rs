//! The system from outside: stories, the architecture as assertions, faults.
