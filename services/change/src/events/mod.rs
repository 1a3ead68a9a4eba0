//! Events out and in: [`publish`] makes bytes of what happened here, [`consume`] fills the read
//! models from what happened elsewhere.

pub mod consume;
pub mod publish;
