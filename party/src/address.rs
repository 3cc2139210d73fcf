//! Loopback addresses: a connection without TLS must not leave the machine.

use std::net::ToSocketAddrs;

/// Whether the host in `HOST:PORT` is this machine: every address that it resolves to is a loopback
/// address. `None` if the name does not resolve.
pub fn is_loopback(address: &str) -> Option<bool> {
    let mut resolved = address.to_socket_addrs().ok()?.peekable();
    resolved.peek()?;
    Some(resolved.all(|address| address.ip().to_canonical().is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:7700", "[::ffff:127.0.0.1]:1", "localhost:1"] {
            assert_eq!(is_loopback(address), Some(true), "{address}");
        }
        for address in ["192.0.2.1:1", "0.0.0.0:1", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:1"] {
            assert_eq!(is_loopback(address), Some(false), "{address}");
        }
        assert_eq!(is_loopback("127.0.0.1"), None, "no port");
    }
}
