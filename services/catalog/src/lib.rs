//! The catalog service: business services and configuration items.
