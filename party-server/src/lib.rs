//! party-server
