//! Events out and in: [`publish`] makes bytes of what happened here, [`consume`] fills the read
//! model from what happened in the directory.

pub mod consume;
pub mod publish;
