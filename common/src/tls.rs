//! One TLS handshake with a server, to see what it agrees to. Whether its certificate can be trusted is checked by the programs' own
//! connections; here any certificate will do, and nothing is sent.

use std::io::Write as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

/// The lowest version of TLS that settings may name.
pub const VERSIONS: [&str; 2] = ["TLSv1.2", NEWEST];

/// The newest version, as [`Agreed::protocol`] has it.
pub const NEWEST: &str = "TLSv1.3";

/// How long a server may take for a step.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// What a server agreed to.
#[derive(Debug)]
pub struct Agreed {
    /// `TLSv1.3`
    pub protocol: String,
    /// The cipher's name.
    pub cipher: String,
    /// Its certificate, as DER.
    pub certificate: Vec<u8>,
}

/// Shakes hands with `host:port`. Blocks.
///
/// # Errors
/// The server does not answer, or speaks no TLS that we know.
pub fn shake(address: &str) -> anyhow::Result<Agreed> {
    let (host, _) = address.rsplit_once(':').with_context(|| format!("{address} is not host:port"))?;
    let host = host.trim_matches(['[', ']']).to_owned();
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), ServerName::try_from(host)?)?;
    let resolved = address.to_socket_addrs()?.next().with_context(|| format!("{address} has no address"))?;
    let mut stream = TcpStream::connect_timeout(&resolved, TIME_LIMIT)?;
    stream.set_read_timeout(Some(TIME_LIMIT))?;
    stream.set_write_timeout(Some(TIME_LIMIT))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).context("the TLS handshake failed")?;
    }
    let (Some(protocol), Some(cipher)) = (connection.protocol_version(), connection.negotiated_cipher_suite()) else {
        bail!("the TLS handshake did not end");
    };
    let certificate = connection.peer_certificates().and_then(<[_]>::first).context("the server has no certificate")?;
    let agreed = Agreed {
        protocol: format!("{protocol:?}").replace('_', "."),
        cipher: format!("{:?}", cipher.suite()),
        certificate: certificate.to_vec(),
    };
    connection.send_close_notify();
    // Whether the server hears the end does not matter.
    let _ = connection.write_tls(&mut stream).and_then(|_| stream.flush());
    Ok(agreed)
}

/// Trusts anybody.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
