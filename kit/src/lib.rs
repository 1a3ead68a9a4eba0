//! What services are built from: database, event path, clock, identity, and nothing of the domain.
