//! What people read, what the command line takes, and what answers of the server come to.

mod answers;
mod parsing;
mod reading;
