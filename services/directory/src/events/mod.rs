//! Events out: [`publish`] makes bytes of what happened here. The directory follows nobody.

pub mod publish;
