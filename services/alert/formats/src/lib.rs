//! The intake formats: bytes in, accepted and rejected alerts out.
