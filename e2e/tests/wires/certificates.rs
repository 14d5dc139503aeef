//! An authority of the test's own, and the certificates that it signs.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType, date_time_ymd};

/// An authority, and the files of what it signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
    name: &'static str,
}

impl Authority {
    pub fn new(directory: &Path, name: &'static str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, directory: directory.to_owned(), name };
        std::fs::write(authority.ca_file(), authority.issuer.pem()).unwrap();
        authority
    }

    pub fn ca_file(&self) -> PathBuf {
        self.directory.join(format!("{}.pem", self.name))
    }

    /// A server's key and certificate for 127.0.0.1 in the given file.
    pub fn server(&self, file: &str, valid_until: SystemTime) -> PathBuf {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.distinguished_name.push(rcgen::DnType::CommonName, "127.0.0.1");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = valid_until.into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = self.directory.join(file);
        std::fs::write(&file, format!("{}{}", key.serialize_pem(), certificate.pem())).unwrap();
        file
    }
}
