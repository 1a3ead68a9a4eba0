//! Events out and in: [`publish`] makes bytes of what happened here, [`consume`] makes use cases
//! of what happened elsewhere.

pub mod consume;
pub mod publish;
