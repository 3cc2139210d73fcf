//! Who may ask: the key, and the names by which this machine is called.
//!
//! A page of a foreign site can make a browser on this machine send requests here, and if its name
//! is made to resolve to 127.0.0.1, even read the answers. Such requests carry the foreign name as
//! `Host` or `Origin`.

use std::{
    fs,
    io::{self, Read},
    net::IpAddr,
    path::Path,
};

use hyper::{
    HeaderMap, StatusCode, Uri,
    header::{AUTHORIZATION, HOST, ORIGIN},
    http::uri::Authority,
};
use sotto_party::key_file;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::refusal::Refusal;
use crate::error::Error;

/// Bytes of a key's file at most.
const FILE_LIMIT: u64 = 4096;
/// Characters of a key at least: as many as nobody guesses.
const SHORTEST: usize = 16;

/// A key that requests must carry.
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// The key in a file: its first line.
    ///
    /// # Errors
    /// The file cannot be read, belongs to another user, can be read by others, or has no key.
    pub fn open(file: &Path) -> Result<ApiKey, Error> {
        let refuse = |reason: String| Error::Usage(format!("--api-key-file {}: {reason}", file.display()));
        let mut text = Zeroizing::new(String::new());
        let unread =
            |e: io::Error| refuse(format!("cannot be read: {e}; put a key into it, and run chmod 600 on it"));
        let file = fs::File::open(file).map_err(unread)?;
        let about = file.metadata().map_err(unread)?;
        key_file::check_owner(&about).and_then(|()| check_readers(&about)).map_err(&refuse)?;
        file.take(FILE_LIMIT).read_to_string(&mut text).map_err(unread)?;
        let key = text.lines().next().unwrap_or_default().trim();
        if key.len() < SHORTEST || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse(format!(
                "the first line is no key: expected {SHORTEST} or more letters, digits and signs; \
                 `openssl rand -hex 32` makes one"
            )));
        }
        Ok(ApiKey(Zeroizing::new(key.into())))
    }

    fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

#[cfg(unix)]
fn check_readers(file: &fs::Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let mode = file.mode();
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(format!("others may use it (mode {:03o}); run chmod 600 on it", mode & 0o777)),
    }
}

#[cfg(not(unix))]
fn check_readers(_: &fs::Metadata) -> Result<(), String> {
    Ok(())
}

/// Who may ask.
pub struct Access {
    key: Option<ApiKey>,
    /// Names of this machine besides its own; none where it is called by any name.
    names: Option<Vec<String>>,
}

impl Access {
    /// Requests with `key`; where there are `names`, by these and by those of a loopback address
    /// only.
    pub fn new(key: Option<ApiKey>, names: Option<Vec<String>>) -> Access {
        Access { key, names }
    }

    /// Whether requests need a key.
    pub fn needs_key(&self) -> bool {
        self.key.is_some()
    }

    /// Checks by which name this machine was called, and from which page.
    ///
    /// # Errors
    /// A foreign name or page.
    pub fn check_names(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let host = uri.authority().map(Authority::as_str).or(text(HOST)).unwrap_or_default();
        if !self.is_own(host) {
            return Err(Refusal::forbidden(
                "foreign_host",
                "the request's Host is not this machine's: expected localhost, 127.0.0.1, [::1], or a name of \
                 --allow-host",
            ));
        }
        match text(ORIGIN) {
            None => Ok(()),
            Some(origin) if is_page_of(origin, host) => Ok(()),
            Some(_) => Err(Refusal::forbidden(
                "foreign_origin",
                "the request comes from a page of another site, expected one of this endpoint; use a program \
                 instead",
            )),
        }
    }

    fn is_own(&self, host: &str) -> bool {
        let Some(names) = &self.names else { return true };
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host().to_ascii_lowercase();
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        let in_brackets = address.len() < host.len();
        let is_loopback =
            |address: IpAddr| address.to_canonical().is_loopback() && address.is_ipv6() == in_brackets;
        host == "localhost"
            || address.parse().is_ok_and(is_loopback)
            || names.iter().any(|name| name.eq_ignore_ascii_case(&host))
    }

    /// Checks the key.
    ///
    /// # Errors
    /// None, or another one.
    pub fn check_key(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(key) = &self.key else { return Ok(()) };
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = given.and_then(|value| value.split_once(' '));
        match bearer {
            Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") && key.is(given.trim()) => Ok(()),
            _ => {
                let message = match given {
                    Some(_) => "the API key is not the one of this endpoint: check it against --api-key-file",
                    None => "no API key: send it as `Authorization: Bearer KEY`",
                };
                Err(Refusal::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message)
                    .code("invalid_api_key"))
            }
        }
    }
}

/// Whether `origin` is the page that this endpoint serves under `host`.
fn is_page_of(origin: &str, host: &str) -> bool {
    let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    !host.is_empty() && site.is_some_and(|site| site.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(access: &Access, host: Option<&str>, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        host.map(|host| headers.insert(HOST, host.parse().unwrap()));
        origin.map(|origin| headers.insert(ORIGIN, origin.parse().unwrap()));
        access.check_names(&Uri::from_static("/v1/models"), &headers).is_ok()
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let access = Access::new(None, Some(vec!["Inner.example".into()]));
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:80", "inner.example:1"]
        {
            assert!(asked(&access, Some(host), None), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:80",
            "192.0.2.1",
            "a b",
            "",
            "[::2]",
            "me@localhost",
            "[127.0.0.1]",
        ] {
            assert!(!asked(&access, Some(host), None), "{host}");
        }
        assert!(!asked(&access, None, None), "no name at all");
        assert!(asked(&Access::new(None, None), Some("any.example"), None));
    }

    #[test]
    fn only_pages_of_this_endpoint_may_ask() {
        let access = Access::new(None, Some(vec![]));
        let host = Some("localhost:8080");
        assert!(asked(&access, host, Some("http://localhost:8080")));
        for origin in ["http://localhost:3000", "https://evil.example", "null", "http://localhost:8080.evil"]
        {
            assert!(!asked(&access, host, Some(origin)), "{origin}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_is_long_and_nobody_elses() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let open = |text: &str, mode| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            ApiKey::open(&file)
        };
        let key = open("sk-0123456789abcdef\nmore\n", 0o600).unwrap();
        assert!(key.is("sk-0123456789abcdef") && !key.is("sk-0123456789abcdeF") && !key.is(""));
        for (text, mode, word) in [
            ("sk-0123456789abcdef", 0o644, "chmod 600"),
            ("short", 0o600, "no key"),
            ("", 0o600, "no key"),
            ("sk-0123 456789abcdef", 0o600, "no key"),
        ] {
            let refused = open(text, mode).err().unwrap().to_string();
            assert!(refused.contains(word) && refused.contains("--api-key-file"), "{refused}");
        }
    }
}
