//! Who a party is: an Ed25519 key pair, known to others by the fingerprint of its public half.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
    str::FromStr,
    sync::Arc,
};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519};
use rustls::{
    crypto::ring::sign::any_eddsa_type,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use zeroize::{Zeroize, Zeroizing};

use crate::Error;

/// The BLAKE3 digest of a public key (as SubjectPublicKeyInfo). Written `sotto-` and 52 characters
/// of lower-case base32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The digest itself, for a session id.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The fingerprint of the key in a certificate; `None` if the bytes are no certificate.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Fingerprint> {
        let key = ParsedCertificate::try_from(certificate).ok()?.subject_public_key_info();
        Some(Fingerprint(*blake3::hash(&key).as_bytes()))
    }
}

const PREFIX: &str = "sotto-";
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Characters of five bits each.
const DIGITS: usize = 256_usize.div_ceil(5);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let byte = |i: usize| self.0.get(i).copied().unwrap_or(0);
        let digit = |i: usize| {
            let (first, shift) = (5 * i / 8, 5 * i % 8);
            let window = u16::from_be_bytes([byte(first), byte(first + 1)]);
            char::from(ALPHABET[usize::from(window << shift >> 11)])
        };
        f.write_str(PREFIX)?;
        f.write_str(&(0..DIGITS).map(digit).collect::<String>())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no fingerprint.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no fingerprint: it is \"sotto-\" and 52 characters of a-z and 2-7, as the other party prints it"
)]
pub struct ParseFingerprintError(String);

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Fingerprint, ParseFingerprintError> {
        let parse = || {
            let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == DIGITS)?;
            let mut bytes = [0u8; 33];
            for (i, c) in digits.bytes().enumerate() {
                let digit = ALPHABET.iter().position(|a| *a == c)? as u16;
                let (first, shift) = (5 * i / 8, 5 * i % 8);
                let [high, low] = (digit << 11 >> shift).to_be_bytes();
                bytes[first] |= high;
                bytes[first + 1] |= low;
            }
            // The last character has four bits to spare: they are zero.
            let (digest, spare) = bytes.split_first_chunk::<32>()?;
            (spare == [0]).then_some(Fingerprint(*digest))
        };
        parse().ok_or_else(|| ParseFingerprintError(text.into()))
    }
}

/// A party's key pair, with the self-signed certificate that TLS carries it in. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    pub(crate) key: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
}

impl Identity {
    /// A new identity, for this run only.
    ///
    /// # Panics
    /// If the system has no randomness.
    pub fn generate() -> Identity {
        Identity::certify(new_key_pair())
    }

    /// The identity that the file at `path` holds; a new one, written there, if there is no such
    /// file.
    ///
    /// The file is a PKCS #8 private key in PEM, readable by its owner only. The certificate is
    /// made anew at each start; the fingerprint depends on the key alone.
    ///
    /// # Errors
    /// [`Error::Identity`] if the file cannot be read or written, if others may read it, or if it
    /// holds anything but an Ed25519 key.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Identity, Error> {
        let path = path.as_ref();
        let created = match File::open(path) {
            Ok(file) => load(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => create(path),
            Err(e) => Err(e.to_string()),
        };
        created.map(Identity::certify).map_err(|reason| Error::Identity { path: path.into(), reason })
    }

    /// The fingerprint by which others know this identity.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// An identity that shows the certificate of `victim` without having its key.
    #[cfg(test)]
    pub(crate) fn impostor(victim: &Identity) -> Identity {
        let stolen = victim.key.cert.clone();
        let key = Identity::generate().key.key.clone();
        Identity { key: Arc::new(CertifiedKey::new(stolen, key)), fingerprint: victim.fingerprint }
    }

    fn certify(mut pair: KeyPair) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "sotto");
        let certificate =
            params.self_signed(&pair).expect("an Ed25519 key signs any certificate").der().clone();
        let fingerprint = Fingerprint::of(&certificate).expect("a certificate just made is one");
        let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(pair.serialized_der()));
        let key = key.expect("a key that has just signed is one");
        pair.zeroize();
        Identity { key: Arc::new(CertifiedKey::new(vec![certificate], key)), fingerprint }
    }
}

fn new_key_pair() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).expect("the system provides randomness")
}

/// Bytes of a key file that are read; a private key in PEM takes fewer.
const MAX_FILE_LEN: u64 = 1 << 14;

fn load(file: File) -> Result<KeyPair, String> {
    private(&file)?;
    // Enough room from the start: a string that grows leaves copies behind.
    let mut pem = Zeroizing::new(String::with_capacity(MAX_FILE_LEN as usize));
    file.take(MAX_FILE_LEN).read_to_string(&mut pem).map_err(|e| e.to_string())?;
    KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &PKCS_ED25519)
        .map_err(|_| "it holds no Ed25519 private key in PEM; move it away to get a new identity".into())
}

fn create(path: &Path) -> Result<KeyPair, String> {
    let pair = new_key_pair();
    let pem = Zeroizing::new(pair.serialize_pem());
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|e| e.to_string())?;
    Ok(pair)
}

/// Only the owner of a private key may read it.
#[cfg(unix)]
fn private(file: &File) -> Result<(), String> {
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().map_err(|e| e.to_string())?);
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(format!("others may read it (mode {:03o}); run chmod 600 on it", mode & 0o777))
}

#[cfg(not(unix))]
fn private(_: &File) -> Result<(), String> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_survives_its_text() {
        for bytes in [[0; 32], [0xff; 32], std::array::from_fn(|i| (37 * i + 11) as u8)] {
            let text = Fingerprint(bytes).to_string();
            assert_eq!(text.len(), 58);
            assert_eq!(text.parse::<Fingerprint>().unwrap(), Fingerprint(bytes));
        }
        let ones = Fingerprint([0xff; 32]).to_string();
        assert!(ones.ends_with("77q"), "256 = 51 * 5 + 1: {ones}");
    }

    #[test]
    fn what_is_no_fingerprint_is_refused() {
        let good = Identity::generate().fingerprint().to_string();
        let wrong = [
            String::new(),
            "sotto-".into(),
            good[1..].into(),
            good[..57].into(),
            format!("{good}a"),
            good.to_uppercase(),
            format!("{}b", &Fingerprint([0xff; 32]).to_string()[..57]),
            format!("{}1", &good[..57]),
            format!("sotto-{}", "é".repeat(26)),
        ];
        for text in wrong {
            let error = text.parse::<Fingerprint>().unwrap_err().to_string();
            assert!(error.contains("52 characters"), "{error}");
        }
    }

    #[test]
    fn an_identity_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/identity.pem");
        let first = Identity::load_or_create(&path).unwrap().fingerprint();
        assert_eq!(Identity::load_or_create(&path).unwrap().fingerprint(), first);
        assert_ne!(Identity::generate().fingerprint(), first);
        assert!(fs::read_to_string(&path).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.pem");
        Identity::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Identity::load_or_create(&path).err().unwrap().to_string();
        assert!(error.contains("mode 644") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_file_without_a_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let p256 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
        let blocks = ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &p256];
        for (i, text) in blocks.into_iter().enumerate() {
            let path = folder.path().join(i.to_string());
            Identity::load_or_create(&path).unwrap();
            fs::write(&path, text).unwrap();
            let error = Identity::load_or_create(&path).err().unwrap().to_string();
            assert!(error.contains("no Ed25519 private key"), "{error}");
        }
        assert!(Identity::load_or_create(folder.path()).is_err(), "a folder is no key");
    }
}
