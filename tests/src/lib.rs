//! The system from outside. [`world`] has the words that stories are told in; each file under
//! `tests/` is one story. Stories run all services in the test's process on real Postgres, NATS and
//! gRPC, with a clock that is driven by hand. `tidy` holds the architecture as assertions.

pub mod world;
