//! The codec of control messages (hello, plan, shapes). Bulk data does not pass here.

use serde::{Serialize, de::DeserializeOwned};

use crate::Error;

/// Upper bound on an encoded control message, in bytes.
pub const MAX_CONTROL_LEN: usize = 1 << 16;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_fixed_int_encoding().with_limit::<MAX_CONTROL_LEN>()
}

pub(crate) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let bytes = bincode::serde::encode_to_vec(message, config()).expect("control messages serialise");
    assert!(bytes.len() <= MAX_CONTROL_LEN, "control message of {} bytes", bytes.len());
    bytes
}

pub(crate) fn decode<T: DeserializeOwned>(step: &'static str, bytes: &[u8]) -> Result<T, Error> {
    let malformed = |reason: String| Error::Malformed { step, reason };
    let (message, used) =
        bincode::serde::decode_from_slice(bytes, config()).map_err(|e| malformed(e.to_string()))?;
    if used != bytes.len() {
        return Err(malformed(format!("{} bytes left over", bytes.len() - used)));
    }
    Ok(message)
}
