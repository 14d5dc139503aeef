//! What every handler has at hand.

use std::sync::Arc;

use anyhow::Context;
use common::keyring::Keyring;
use common::secrets::{hash_password, new_token};
use common::settings::{Dashboard, Settings};
use mongodb::Database;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::limits::Limits;
use crate::live::watch::Live;
use crate::logins::Logins;
use crate::oidc::Provider;
use crate::read::Rollups;

/// Passwords that are hashed at the same time; each takes 19 MiB and a core.
const HASHES_AT_ONCE: usize = 2;

/// Shared by all requests.
#[derive(Debug)]
pub struct App {
    /// The database.
    pub database: Database,
    /// What reports are made of.
    pub rollups: Rollups,
    /// `[dashboard]`.
    pub settings: Dashboard,
    /// Makes digests of tokens.
    pub keyring: Keyring,
    /// Whether other programs have the keyring too.
    pub is_keyring_shared: bool,
    /// The hash of a password that nobody has, so that an unknown address takes as long as a known one.
    pub nobodys_hash: String,
    /// Places for passwords that are being hashed.
    pub hashing: Semaphore,
    /// What happens now.
    pub live: Live,
    /// Where signing in is told.
    pub logins: Logins,
    /// How often somebody may ask.
    pub limits: Limits,
    /// Where people sign in besides.
    pub provider: Option<Provider>,
}

impl App {
    /// On this database.
    ///
    /// # Errors
    /// The keyring cannot be read.
    pub fn new(database: Database, settings: &Settings, shutdown: CancellationToken) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            rollups: Rollups::of(database.clone()),
            database,
            settings: settings.dashboard.clone(),
            keyring: keyring(settings)?,
            is_keyring_shared: !settings.security.keyring_file.as_os_str().is_empty(),
            nobodys_hash: hash_password(&new_token()?)?,
            hashing: Semaphore::new(HASHES_AT_ONCE),
            live: Live::new(shutdown),
            logins: Logins::new(settings)?,
            limits: Limits::default(),
            provider: Provider::of(&settings.dashboard),
        }))
    }

    /// Whether browsers reach the dashboard by TLS, through a proxy.
    pub fn is_https(&self) -> bool {
        self.settings.public_url.starts_with("https://")
    }

    /// The cookie with the token of a session. With TLS its name makes the browser refuse it from anybody else.
    pub fn session_cookie(&self) -> &'static str {
        if self.is_https() { "__Host-devtoolkit_session" } else { "devtoolkit_session" }
    }

    /// The cookie of who is on the way to the identity provider.
    pub fn attempt_cookie(&self) -> &'static str {
        if self.is_https() { "__Host-devtoolkit_attempt" } else { "devtoolkit_attempt" }
    }

    /// The cookie that belongs to the form for signing in.
    pub fn page_cookie(&self) -> &'static str {
        if self.is_https() { "__Host-devtoolkit_page" } else { "devtoolkit_page" }
    }
}

/// The keyring of the settings. Without one, sessions have a key of this process alone, and end with it.
fn keyring(settings: &Settings) -> anyhow::Result<Keyring> {
    if !settings.security.keyring_file.as_os_str().is_empty() {
        return Ok(Keyring::from_settings(settings)?);
    }
    tracing::warn!(
        "security.keyring_file names no keyring: sessions end when this process ends, and the audit log cannot tell later who did what; \
         make one with admin keys create, and name it"
    );
    let path = std::env::temp_dir().join(format!("devtoolkit-dashboard-{}-{}", std::process::id(), new_token()?));
    let keyring = Keyring::create(&path).context("without security.keyring_file, a key of this process is made")?;
    std::fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
    Ok(keyring)
}
