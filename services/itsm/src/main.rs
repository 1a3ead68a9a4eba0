//! The binary: every service, and the client.

mod embedded;
mod provisioner;

fn main() {}
