//! Events out and in: [`publish`] makes bytes of what happened here, [`consume`] keeps what other
//! services say, [`intake`] takes what sources say from the intake stream, which [`read`] reads,
//! and [`mirror`] shows the gateway which keys are valid.

pub mod consume;
pub mod intake;
pub mod mirror;
pub mod publish;
pub mod read;
