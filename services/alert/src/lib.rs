//! The alert service: from raw intake to alerts by dedup key.
