//! party-client
