//! TLS 1.3 between pinned identities.
//!
//! | client: key, pinned fingerprint |                         | server: key, list of clients |
//! |---------------------------------|-------------------------|------------------------------|
//! | shows key, accepts the pinned   | `<- TLS 1.3, mutual ->` | shows key, accepts its list  |
//! |                                 | `<-- one byte ---`      | has accepted the client      |
//! | returns channel, exporter       |                         | returns channel, exporter    |
//!
//! Certificates are self-signed and only carry a key: names, dates and authorities are not checked.
//! Each side checks the other's signature over the handshake, which proves that the peer has the
//! key that it shows. Sessions are not resumed and no data is sent early, so every session has keys
//! of its own.
//!
//! In TLS 1.3 the client has finished before the server has seen its certificate. The byte tells
//! the client that the server accepts it, so that a refusal is an error of the handshake on both
//! sides.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, ConnectionCommon, DigitallySignedStruct,
    DistinguishedName, ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::SingleCertAndKey,
    version::TLS13,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{error::Elapsed, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{Channel, Error, Fingerprint, Identity, Link, Stream, runtime::connect_tcp, shape};

/// How long a handshake may take, beyond what the simulated link adds.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

const ALPN: &[u8] = b"sotto/1";
const EXPORTER_LABEL: &[u8] = b"EXPORTER-sotto/1 session";
const WELCOME: u8 = 1;

/// The peers that a party accepts.
#[derive(Clone, Debug)]
pub enum Peers {
    /// Every peer that proves to have the key that it shows.
    Any,
    /// Only these.
    Only(BTreeSet<Fingerprint>),
}

impl Peers {
    fn accept(&self, peer: &Fingerprint) -> bool {
        match self {
            Peers::Any => true,
            Peers::Only(list) => list.contains(peer),
        }
    }
}

/// A connection after its handshake.
pub struct Secured {
    /// The connection.
    pub channel: Channel,
    /// Who is at the other end.
    pub peer: Fingerprint,
    /// Keying material that only these two parties share, new in each session (RFC 8446, 7.5).
    pub exporter: [u8; 32],
}

/// Connects to `HOST:PORT`, where the server with the fingerprint `server` must answer.
///
/// # Errors
/// [`Error::Connect`], [`Error::WrongServer`], [`Error::Rejected`], [`Error::NotTls`] or
/// [`Error::HandshakeTimeout`].
pub async fn connect_tls(
    addr: &str,
    link: Link,
    me: &Identity,
    server: Fingerprint,
) -> Result<Secured, Error> {
    let stream = shape(connect_tcp(addr).await?, link);
    let mut secured = client(stream, addr, me, server, patience(link)).await?;
    secured.channel.state_rate(link.rate);
    Ok(secured)
}

/// A client that has connected to a [`crate::Listener`], before the handshake.
pub struct Incoming {
    stream: Box<dyn Stream>,
    addr: SocketAddr,
    patience: Duration,
    rate: Option<f64>,
}

impl Incoming {
    pub(crate) fn new(stream: Box<dyn Stream>, addr: SocketAddr, link: Link) -> Incoming {
        Incoming { stream, addr, patience: patience(link), rate: link.rate }
    }

    /// Where the client connects from.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sets how long the handshake may take.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.patience = timeout;
    }

    /// Does the handshake as `me`, with a client that must be one of `clients`.
    ///
    /// # Errors
    /// [`Error::UnknownClient`], [`Error::Rejected`], [`Error::NotTls`] or
    /// [`Error::HandshakeTimeout`].
    pub async fn handshake(self, me: &Identity, clients: &Peers) -> Result<Secured, Error> {
        let mut secured = server(self.stream, &self.addr.to_string(), me, clients, self.patience).await?;
        secured.channel.state_rate(self.rate);
        Ok(secured)
    }
}

fn patience(link: Link) -> Duration {
    HANDSHAKE_TIMEOUT + 4 * link.rtt
}

async fn client(
    stream: impl Stream,
    addr: &str,
    me: &Identity,
    server: Fingerprint,
    patience: Duration,
) -> Result<Secured, Error> {
    let verifier = Arc::new(Verifier::new(Peers::Only(BTreeSet::from([server]))));
    let mut config = ClientConfig::builder_with_provider(verifier.provider.clone())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(me.key.clone())));
    config.alpn_protocols = vec![ALPN.into()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;

    let greeting = async {
        let name = ServerName::try_from("sotto").expect("a host name");
        let mut tls = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let session = session(tls.get_ref().1)?;
        match tls.read_u8().await? {
            WELCOME => Ok((tls, session)),
            _ => Err(io::Error::other("no welcome")),
        }
    };
    let refused = |got| Error::WrongServer { addr: addr.into(), expected: server, got };
    finish(timeout(patience, greeting).await, addr, me, patience, &verifier, refused)
}

async fn server(
    stream: impl Stream,
    addr: &str,
    me: &Identity,
    clients: &Peers,
    patience: Duration,
) -> Result<Secured, Error> {
    let verifier = Arc::new(Verifier::new(clients.clone()));
    let mut config = ServerConfig::builder_with_provider(verifier.provider.clone())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3")
        .with_client_cert_verifier(verifier.clone())
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(me.key.clone())));
    config.alpn_protocols = vec![ALPN.into()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;

    let greeting = async {
        let mut tls = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
        let session = session(tls.get_ref().1)?;
        tls.write_u8(WELCOME).await?;
        tls.flush().await?;
        Ok((tls, session))
    };
    let refused = |got| Error::UnknownClient { addr: addr.into(), got };
    finish(timeout(patience, greeting).await, addr, me, patience, &verifier, refused)
}

/// The peer's fingerprint, and keying material.
type Session = (Fingerprint, [u8; 32]);

/// The connection after a handshake, or the reason why there is none; `refused` is the error if
/// this side does not accept the peer.
fn finish(
    handshake: Result<io::Result<(impl Stream, Session)>, Elapsed>,
    addr: &str,
    me: &Identity,
    patience: Duration,
    verifier: &Verifier,
    refused: impl FnOnce(Fingerprint) -> Error,
) -> Result<Secured, Error> {
    match handshake {
        Ok(Ok((tls, (peer, exporter)))) => Ok(Secured { channel: Channel::new(tls), peer, exporter }),
        Ok(Err(e)) => Err(match verifier.stranger(&e) {
            Some(got) => refused(got),
            None => explain(e, addr, me),
        }),
        Err(_) => Err(Error::HandshakeTimeout { addr: addr.into(), after: patience }),
    }
}

/// The session of a finished handshake; an error if the peer did not agree to speak Sotto.
fn session<Side>(tls: &ConnectionCommon<Side>) -> io::Result<Session> {
    if tls.alpn_protocol() != Some(ALPN) {
        return Err(io::Error::other("another protocol"));
    }
    let certificate = tls.peer_certificates().and_then(<[_]>::first);
    let peer = certificate.and_then(Fingerprint::of).ok_or_else(|| io::Error::other("no certificate"))?;
    let exporter = tls.export_keying_material([0; 32], EXPORTER_LABEL, None).map_err(io::Error::other)?;
    Ok((peer, exporter))
}

/// Why a handshake failed, if it was not this side that refused the peer.
fn explain(error: io::Error, addr: &str, me: &Identity) -> Error {
    let addr = addr.to_string();
    let reason = match tls_error(&error) {
        Some(rustls::Error::AlertReceived(AlertDescription::AccessDenied)) => {
            return Error::Rejected { addr, me: me.fingerprint() };
        }
        Some(e) => e.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "it closed the connection".into(),
        None => error.to_string(),
    };
    Error::NotTls { addr, reason }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Accepts certificates by their key alone.
#[derive(Debug)]
struct Verifier {
    accepted: Peers,
    /// The fingerprint in the peer's certificate.
    claimed: OnceLock<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(accepted: Peers) -> Verifier {
        Verifier { accepted, claimed: OnceLock::new(), provider: Arc::new(ring::default_provider()) }
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let peer = Fingerprint::of(certificate).ok_or(CertificateError::BadEncoding)?;
        if self.accepted.accept(self.claimed.get_or_init(|| peer)) {
            return Ok(());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    /// The peer, if `error` says that it is not an accepted one.
    fn stranger(&self, error: &io::Error) -> Option<Fingerprint> {
        let refused = rustls::Error::from(CertificateError::ApplicationVerificationFailure);
        (tls_error(error) == Some(&refused)).then(|| self.claimed.get().copied()).flatten()
    }
}

/// The methods that the two verifier traits of rustls have in common.
macro_rules! signature_checks {
    () => {
        /// No configuration here speaks TLS 1.2.
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("TLS 1.2 is not spoken here".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(certificate).map(|()| ServerCertVerified::assertion())
    }

    signature_checks!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(certificate).map(|()| ClientCertVerified::assertion())
    }

    signature_checks!();
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, copy_bidirectional, duplex};

    use super::*;
    use crate::Runtime;

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(20);

    /// A connection that the test can read and change.
    fn wire() -> (DuplexStream, DuplexStream) {
        duplex(1 << 16)
    }

    /// The server's error for a client with this configuration.
    fn serve(config: ClientConfig) -> Error {
        Runtime::new().block_on(async {
            let (near, far) = wire();
            let client = async {
                let name = ServerName::try_from("sotto").unwrap();
                let mut tls = TlsConnector::from(Arc::new(config)).connect(name, near).await?;
                tls.read_u8().await
            };
            let me = Identity::generate();
            let (welcome, result) = tokio::join!(client, server(far, "there", &me, &Peers::Any, LONG));
            assert!(welcome.is_err());
            result.err().unwrap()
        })
    }

    fn someone() -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(Peers::Any)))
    }

    #[test]
    fn a_client_without_a_certificate_is_refused() {
        let mut config = someone().with_no_client_auth();
        config.alpn_protocols = vec![ALPN.into()];
        let error = serve(config);
        assert!(matches!(error, Error::NotTls { .. }), "{error}");
    }

    #[test]
    fn a_client_of_another_protocol_is_refused() {
        for protocols in [vec![], vec![b"h2".to_vec()], vec![b"sotto/2".to_vec()]] {
            let me = Identity::generate();
            let mut config = someone().with_client_cert_resolver(Arc::new(SingleCertAndKey::from(me.key)));
            config.alpn_protocols = protocols;
            let error = serve(config);
            assert!(matches!(error, Error::NotTls { .. }), "{error}");
        }
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        Runtime::new().block_on(async {
            let (honest, victim) = (Identity::generate(), Identity::generate());
            let impostor = Identity::impostor(&victim);
            let list = Peers::Only(BTreeSet::from([victim.fingerprint()]));
            for (me, you) in [(&honest, &impostor), (&impostor, &victim)] {
                let (near, far) = wire();
                let (a, b) = tokio::join!(
                    server(far, "there", me, &list, LONG),
                    client(near, "here", you, me.fingerprint(), LONG),
                );
                let errors = [a.err().unwrap().to_string(), b.err().unwrap().to_string()];
                assert!(errors.iter().any(|e| e.contains("BadSignature")), "{errors:?}");
            }
        });
    }

    #[test]
    fn a_silent_server_is_a_timeout() {
        Runtime::new().block_on(async {
            let (near, _far) = wire();
            let me = Identity::generate();
            let error = client(near, "there", &me, me.fingerprint(), SHORT).await.err().unwrap();
            assert!(matches!(error, Error::HandshakeTimeout { after: SHORT, .. }), "{error}");
        });
    }

    /// Without TLS's closing message anybody may have ended the connection.
    #[test]
    fn a_connection_that_is_cut_is_no_orderly_end() {
        Runtime::new().block_on(async {
            let ((near, mut left), (mut right, far)) = (wire(), wire());
            let cut = tokio::spawn(async move { copy_bidirectional(&mut left, &mut right).await });
            let (me, you) = (Identity::generate(), Identity::generate());
            let (a, b) = tokio::join!(
                server(far, "there", &me, &Peers::Any, LONG),
                client(near, "here", &you, me.fingerprint(), LONG),
            );
            let (mut a, mut b) = (a.unwrap(), b.unwrap());
            b.channel.send("a", vec![1; 8]).unwrap();
            a.channel.recv("a", 8).await.unwrap();
            cut.abort();
            let error = a.channel.recv("a", 8).await.unwrap_err();
            assert!(matches!(error, Error::Closed { step: "a" }), "{error}");
        });
    }

    /// A byte changed on the way is an error of the transport; the message is not handed out.
    #[test]
    fn a_changed_byte_is_noticed() {
        Runtime::new().block_on(async {
            let ((near, mut left), (mut right, far)) = (wire(), wire());
            let (me, you) = (Identity::generate(), Identity::generate());
            let pinned = me.fingerprint();
            let relay = async {
                let handshakes = async {
                    tokio::join!(
                        server(far, "there", &me, &Peers::Any, LONG),
                        client(near, "here", &you, pinned, LONG),
                    )
                };
                tokio::select! {
                    both = handshakes => both,
                    _ = copy_bidirectional(&mut left, &mut right) => panic!("the handshake failed"),
                }
            };
            let (a, b) = relay.await;
            let (mut a, mut b) = (a.unwrap(), b.unwrap());
            b.channel.send("a", vec![1; 8]).unwrap();
            let mut record = vec![0; 4096];
            let len = left.read(&mut record).await.unwrap();
            record[len / 2] ^= 1;
            right.write_all(&record[..len]).await.unwrap();
            let error = a.channel.recv("a", 8).await.unwrap_err();
            assert!(matches!(error, Error::Transport { step: "a", .. }), "{error}");
        });
    }
}
