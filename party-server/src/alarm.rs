//! What ends a client's connection before its time: another client's need, or a stop.

pub use sotto_party::alarm::lock;

/// An alarm that ends a connection.
pub type Alarm = sotto_party::alarm::Alarm<Ending>;

/// Why a connection ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    /// It had not joined yet, and newer connections needed its place.
    #[error("the client has not joined, and its place was needed for a newer connection")]
    Displaced,
    /// Its client had no request, and another client waited.
    #[error("the session was idle, and its place was needed for a client that waited")]
    Idle,
    /// The server stops.
    #[error("the server stops")]
    Stopping,
}
