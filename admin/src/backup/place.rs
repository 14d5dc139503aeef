//! What `[backup]` names: the storage, the recipient and the identity.

use std::sync::Arc;

use backup::age::{Identity, Recipient};
use backup::store::Store;
use common::settings::{Backup, Settings, SettingsError};

/// Which of the two places a command reads.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Place {
    /// Read backup.second_storage, the copy in another region, instead of backup.storage
    #[arg(long)]
    second: bool,
}

impl Place {
    /// Whether it is the copy.
    pub const fn is_second(self) -> bool {
        self.second
    }

    /// Opens it.
    ///
    /// # Errors
    /// The settings name none that can be.
    pub fn open(self, settings: &Settings) -> Result<Arc<Store>, SettingsError> {
        let store = if self.second { Store::second(&settings.backup) } else { Store::first(&settings.backup) };
        store.map(Arc::new)
    }
}

/// Whom to encrypt for.
///
/// # Errors
/// `backup.recipient` is empty, or no recipient; or so is what `backup.recipient_file` holds.
pub fn recipient(settings: &Settings) -> Result<Recipient, SettingsError> {
    let Backup { recipient, recipient_file: file, .. } = &settings.backup;
    let expected = "an age recipient, age1…, which `admin backup create-identity` makes";
    if file.as_os_str().is_empty() {
        let value = if recipient.is_empty() { "empty".to_owned() } else { format!("{recipient:?}") };
        return recipient.parse().map_err(|_| SettingsError::unusable("backup.recipient", value, expected));
    }
    let unusable = |expected: String| SettingsError::unusable("backup.recipient_file", shown(file), expected);
    if !recipient.is_empty() {
        return Err(unusable("nothing, because backup.recipient is set too".to_owned()));
    }
    let text = std::fs::read_to_string(file).map_err(|error| unusable(format!("a readable file ({error})")))?;
    text.parse().map_err(|_| unusable(format!("a file with {expected}")))
}

/// What decrypts.
///
/// # Errors
/// `backup.identity_file` is empty, or no readable file with an identity.
pub fn identity(settings: &Settings) -> Result<Identity, SettingsError> {
    let file = &settings.backup.identity_file;
    let unusable = |expected: String| SettingsError::unusable("backup.identity_file", shown(file), expected);
    if file.as_os_str().is_empty() {
        return Err(unusable(
            "the file with the identity of backup.recipient: backups cannot be decrypted without it".into(),
        ));
    }
    let text = std::fs::read_to_string(file).map_err(|error| unusable(format!("a readable file ({error})")))?;
    Identity::from_file_text(&text).map_err(|error| unusable(format!("a file with an age identity: {error}")))
}

fn shown(file: &std::path::Path) -> String {
    if file.as_os_str().is_empty() { "empty".to_owned() } else { file.display().to_string() }
}
