//! An authority, and what it signs.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use x509_parser::pem::Pem;

/// Clocks differ: a certificate is valid from this long before it was made.
const BEFORE: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Days that an authority is valid that is made here.
const AUTHORITY_DAYS: u32 = 3_650;

/// Its certificate and its key.
pub(super) struct Authority {
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
    valid_until: DateTime<Utc>,
}

/// What a certificate is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// By a server; members of a replica set are clients of each other.
    Server,
    /// By a client.
    Client,
}

/// A new key, and its certificate or the request for one, as PEM.
pub(super) struct Made {
    pub key: String,
    pub certificate: String,
    pub valid_until: DateTime<Utc>,
}

/// A new authority: its certificate and its key, as PEM.
///
/// # Errors
/// The system gives no random numbers.
pub(super) fn new() -> anyhow::Result<(String, String)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = named("DevToolkit Analytics authority");
    (params.not_before, params.not_after) = {
        let now = SystemTime::now();
        ((now - BEFORE).into(), (now + DAY * AUTHORITY_DAYS).into())
    };
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

impl Authority {
    /// Reads its files.
    ///
    /// # Errors
    /// They cannot be read, do not belong together, or the certificate is over or is that of no authority.
    pub(super) fn read(certificate_file: &Path, key_file: &Path) -> anyhow::Result<Self> {
        let read =
            |path: &Path| std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()));
        let (certificate, key) = (read(certificate_file)?, read(key_file)?);
        let key = KeyPair::from_pem(&key).with_context(|| {
            format!("{} holds no key, expected PKCS #8 as PEM without a password", key_file.display())
        })?;
        Self::of(certificate, key).with_context(|| format!("{} cannot sign", certificate_file.display()))
    }

    fn of(certificate: String, key: KeyPair) -> anyhow::Result<Self> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes())
            .map_err(|_| anyhow::anyhow!("it holds no certificate, expected PEM"))?;
        let valid_until = {
            let parsed = parsed(&pem)?;
            ensure!(parsed.is_ca(), "its certificate is not that of an authority (basicConstraints CA:TRUE)");
            ensure!(
                parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw(),
                "its certificate and the key do not belong together"
            );
            until(&parsed)?
        };
        if valid_until < Utc::now() {
            bail!("its certificate was valid until {}", valid_until.format("%F"));
        }
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).context("its certificate cannot be used")?;
        Ok(Self { certificate, issuer, valid_until })
    }

    /// Signs a certificate with a new key.
    ///
    /// # Errors
    /// The authority is over before.
    pub(super) fn sign(&self, name: &str, hosts: &[SanType], of: Use, days: u32) -> anyhow::Result<Made> {
        let (key, mut params) = unsigned(name, hosts, of)?;
        let now = SystemTime::now();
        let valid_until = DateTime::<Utc>::from(now + DAY * days);
        ensure!(
            valid_until <= self.valid_until,
            "the authority is valid until {} only: choose fewer --days, or another authority",
            self.valid_until.format("%F")
        );
        (params.not_before, params.not_after) = ((now - BEFORE).into(), (now + DAY * days).into());
        params.use_authority_key_identifier_extension = true;
        let mut certificate = params.signed_by(&key, &self.issuer)?.pem();
        if !self.is_root()? {
            // Whoever trusts the root alone needs what is between.
            certificate += &self.certificate;
        }
        Ok(Made { key: key.serialize_pem(), certificate, valid_until })
    }

    fn is_root(&self) -> anyhow::Result<bool> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(self.certificate.as_bytes())?;
        let certificate = parsed(&pem)?;
        Ok(certificate.subject() == certificate.issuer())
    }
}

/// A new key and a request for its certificate, as PEM.
///
/// # Errors
/// The system gives no random numbers.
pub(super) fn request(name: &str, hosts: &[SanType], of: Use) -> anyhow::Result<(String, String)> {
    let (key, params) = unsigned(name, hosts, of)?;
    let request = params.serialize_request(&key)?.pem()?;
    Ok((key.serialize_pem(), request))
}

fn unsigned(name: &str, hosts: &[SanType], of: Use) -> anyhow::Result<(KeyPair, CertificateParams)> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = named(name);
    params.subject_alt_names = hosts.to_vec();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match of {
        Use::Server => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        Use::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    Ok((KeyPair::generate()?, params))
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn parsed(pem: &Pem) -> anyhow::Result<x509_parser::certificate::X509Certificate<'_>> {
    pem.parse_x509().context("it holds no certificate that can be read")
}

fn until(certificate: &x509_parser::certificate::X509Certificate<'_>) -> anyhow::Result<DateTime<Utc>> {
    let seconds = certificate.validity().not_after.timestamp();
    DateTime::from_timestamp(seconds, 0).context("its certificate has no end that can be read")
}

/// Until when the first certificate of a file is valid.
///
/// # Errors
/// The file cannot be read, or holds no certificate.
pub(super) fn valid_until(file: &Path) -> anyhow::Result<DateTime<Utc>> {
    let text = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let found = Pem::iter_from_buffer(&text).filter_map(Result::ok).find(|pem| pem.label == "CERTIFICATE");
    let found = found.with_context(|| format!("{} holds no certificate", file.display()))?;
    until(&parsed(&found)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> Authority {
        let (certificate, key) = new().unwrap();
        Authority::of(certificate, KeyPair::from_pem(&key).unwrap()).unwrap()
    }

    #[test]
    fn an_authority_signs_within_its_own_time_and_with_its_own_key() {
        let authority = authority();
        assert!(authority.sign("a", &[], Use::Server, 365).is_ok());
        let error = authority.sign("a", &[], Use::Server, AUTHORITY_DAYS + 1).err().unwrap().to_string();
        assert!(error.contains("--days"), "{error}");
        let error = Authority::of(authority.certificate.clone(), KeyPair::generate().unwrap()).err().unwrap();
        assert!(error.to_string().contains("do not belong together"), "{error}");
        let leaf = authority.sign("a", &[], Use::Client, 1).unwrap();
        let error = Authority::of(leaf.certificate, KeyPair::from_pem(&leaf.key).unwrap()).err().unwrap();
        assert!(error.to_string().contains("not that of an authority"), "{error}");
    }
}
