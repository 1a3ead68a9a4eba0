//! The incident service: from new to closed.
