//! The one public port: REST, gRPC and alert intake.
