//! Events out and in: [`publish`] makes bytes of what happened here, [`consume`] makes use cases
//! of what happened elsewhere, [`subjects`] reads the records in it.

pub mod consume;
pub mod publish;
pub mod subjects;
