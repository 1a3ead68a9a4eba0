//! The directory service: tenants, people, teams, memberships, service accounts and API keys.
