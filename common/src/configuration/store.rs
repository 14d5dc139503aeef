//! Settings in the database: read, changed with a version that nobody else may have changed meanwhile, and kept as they were before.

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, doc};
use futures::TryStreamExt;
use mongodb::error::Error;
use mongodb::options::WriteConcern;
use mongodb::{ClientSession, Collection, Database};

use super::{Invalid, Known, Rules};
use crate::documents::configuration_history::{self, FormerConfiguration};
use crate::documents::system_configuration::{self, Category, DataType, Environment, SystemConfiguration, Validation};
use crate::keyring::Keyring;
use crate::mongo;
use crate::secrets::{SecretValueError, open_value, seal_value};

/// Letters of a key.
const LONGEST_KEY: usize = 128;

/// Why a setting was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The new value, or its rules, cannot be used.
    #[error("setting {key}: {why}")]
    Invalid {
        /// The setting's key.
        key: String,
        /// Why.
        why: String,
    },
    /// There is no such setting.
    #[error("there is no setting {key}; `admin config list` shows those that there are")]
    Absent {
        /// The key that was named.
        key: String,
    },
    /// Somebody else changed it.
    #[error(
        "setting {key} has version {found} now, expected version {expected}: somebody changed it meanwhile; look at it again, and then \
         change version {found}"
    )]
    Conflict {
        /// The setting's key.
        key: String,
        /// The version that was to be changed; 0 for a setting that was not there.
        expected: i64,
        /// The version that there is.
        found: i64,
    },
    /// A secret value cannot be sealed or opened.
    #[error("setting {key} is secret, and its value cannot be sealed: security.keyring_file names no keyring")]
    NoKeyring {
        /// The setting's key.
        key: String,
    },
    /// The keyring cannot seal or open the value.
    #[error(transparent)]
    Secret(#[from] SecretValueError),
    /// MongoDB fails.
    #[error("the setting cannot be read or changed: {}", mongo::reason(.0))]
    Mongodb(#[from] Error),
}

/// What is to be changed; what is none stays as it is. A setting that is not there is made: it needs at least a value, and where
/// the programs here do not look for it, a category and a description.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edit {
    /// The new value, plain.
    pub value: Option<Bson>,
    /// What it is about.
    pub category: Option<Category>,
    /// One sentence, with the unit.
    pub description: Option<String>,
    /// What the value is to be; of a new setting, by default what its first value is.
    pub data_type: Option<DataType>,
    /// What the value has to pass.
    pub validation: Option<Validation>,
    /// Where it applies; of a new setting, by default everywhere.
    pub environment: Option<Environment>,
    /// Whether it is in force.
    pub is_active: Option<bool>,
    /// Whether the value is never shown.
    pub is_secret: Option<bool>,
}

/// Who changes a setting, and which version of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Editor {
    /// The user of DevToolkit; none for a program.
    pub user: Option<ObjectId>,
    /// The version that is changed: with any other one nothing happens. 0 expects that there is no such setting. None takes the one that
    /// there is when the change begins.
    pub expected_version: Option<i64>,
}

/// A setting before and after a change.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// None for a new one.
    pub before: Option<SystemConfiguration>,
    /// The same as before when nothing differs.
    pub after: SystemConfiguration,
}

impl Changed {
    /// Whether anything differs.
    pub fn is_change(&self) -> bool {
        self.before.as_ref() != Some(&self.after)
    }
}

fn settings(database: &Database) -> Collection<SystemConfiguration> {
    database.collection(system_configuration::COLLECTION)
}

fn former(database: &Database) -> Collection<FormerConfiguration> {
    database.collection(configuration_history::COLLECTION)
}

/// A setting; of a secret one the value is sealed.
///
/// # Errors
/// MongoDB fails.
pub async fn get(database: &Database, key: &str) -> Result<Option<SystemConfiguration>, ConfigurationError> {
    Ok(settings(database).find_one(doc! { "key": key }).await?)
}

/// All settings by category and key; with an environment those that apply there.
///
/// # Errors
/// MongoDB fails.
pub async fn list(
    database: &Database,
    environment: Option<Environment>,
) -> Result<Vec<SystemConfiguration>, ConfigurationError> {
    let filter = match environment {
        None => doc! {},
        Some(environment) => doc! { "environment": { "$in": [environment.as_str(), Environment::All.as_str()] } },
    };
    Ok(settings(database).find(filter).sort(doc! { "category": 1, "key": 1 }).await?.try_collect().await?)
}

/// What a setting was before each change, the latest first.
///
/// # Errors
/// MongoDB fails.
pub async fn history(database: &Database, key: &str) -> Result<Vec<FormerConfiguration>, ConfigurationError> {
    Ok(former(database).find(doc! { "key": key }).sort(doc! { "version": -1 }).await?.try_collect().await?)
}

/// A setting in the form of its history.
pub fn as_former(setting: &SystemConfiguration, replaced_at: DateTime) -> FormerConfiguration {
    FormerConfiguration {
        id: ObjectId::new(),
        key: setting.key.clone(),
        version: setting.version,
        value: (!setting.is_secret).then(|| setting.value.clone()),
        category: setting.category,
        description: setting.description.clone(),
        data_type: setting.data_type,
        validation: setting.shown_validation(),
        environment: setting.environment,
        is_active: setting.is_active,
        is_secret: setting.is_secret,
        last_modified_by: setting.last_modified_by,
        updated_at: setting.updated_at,
        replaced_at,
    }
}

/// Changes a setting or makes it, and keeps what it was in the history: both or neither.
///
/// # Errors
/// See [`ConfigurationError`]; then nothing was changed.
pub async fn set(
    database: &Database,
    keyring: Option<&Keyring>,
    key: &str,
    edit: &Edit,
    editor: Editor,
) -> Result<Changed, ConfigurationError> {
    let before = get(database, key).await?;
    let found = before.as_ref().map_or(0, |setting| setting.version);
    let expected = editor.expected_version.unwrap_or(found);
    if found != expected {
        return Err(ConfigurationError::Conflict { key: key.to_owned(), expected, found });
    }
    let after = edited(keyring, key, before.as_ref(), edit, editor.user)?;
    let changed = Changed { before, after };
    if !changed.is_change() {
        return Ok(changed);
    }
    let mut session = database.client().start_session().await?;
    let transaction = session.start_transaction().write_concern(WriteConcern::majority());
    let written = transaction.and_run2(async |session| write(database, session, &changed).await).await;
    let is_written = match written {
        Ok(is_written) => is_written,
        // Another program made the same setting, or the same version, first.
        Err(error) if mongo::is_duplicate(&error) => false,
        Err(error) => return Err(error.into()),
    };
    if is_written {
        return Ok(changed);
    }
    let found = get(database, key).await?.map_or(0, |setting| setting.version);
    Err(ConfigurationError::Conflict { key: key.to_owned(), expected, found })
}

/// Takes a setting out of force: what stands in the programs' own settings is in force again.
///
/// # Errors
/// See [`ConfigurationError`]; then nothing was changed.
pub async fn unset(
    database: &Database,
    keyring: Option<&Keyring>,
    key: &str,
    editor: Editor,
) -> Result<Changed, ConfigurationError> {
    if get(database, key).await?.is_none() {
        return Err(ConfigurationError::Absent { key: key.to_owned() });
    }
    let edit = Edit { is_active: Some(false), ..Edit::default() };
    set(database, keyring, key, &edit, editor).await
}

/// False when the version is not there any more.
async fn write(database: &Database, session: &mut ClientSession, changed: &Changed) -> Result<bool, Error> {
    let Changed { before, after } = changed;
    let Some(before) = before else {
        settings(database).insert_one(after).session(session).await?;
        return Ok(true);
    };
    let this_version = doc! { "_id": before.id, "version": before.version };
    let replaced = settings(database).find_one_and_replace(this_version, after).session(&mut *session).await?;
    // An erasure may have taken the user out since the setting was read: what goes to the history is what was replaced.
    let Some(replaced) = replaced else { return Ok(false) };
    let mut kept = as_former(&replaced, after.updated_at);
    if after.is_secret {
        kept.value = None;
    }
    former(database).insert_one(kept).session(session).await?;
    Ok(true)
}

/// The setting as it is to be.
fn edited(
    keyring: Option<&Keyring>,
    key: &str,
    before: Option<&SystemConfiguration>,
    edit: &Edit,
    user: Option<ObjectId>,
) -> Result<SystemConfiguration, ConfigurationError> {
    let now = DateTime::now();
    let invalid = |why: String| ConfigurationError::Invalid { key: key.to_owned(), why };
    let mut after = match before {
        Some(before) => before.clone(),
        None => new(key, edit, now).map_err(invalid)?,
    };
    if let Some(category) = edit.category {
        after.category = category;
    }
    if let Some(description) = &edit.description {
        after.description.clone_from(description);
    }
    if let Some(data_type) = edit.data_type {
        after.data_type = data_type;
    }
    if let Some(validation) = &edit.validation {
        after.validation = Some(validation.clone());
    }
    if let Some(environment) = edit.environment {
        after.environment = environment;
    }
    if let Some(is_active) = edit.is_active {
        after.is_active = is_active;
    }
    if let Some(is_secret) = edit.is_secret {
        after.is_secret = is_secret;
    }
    let touches_value = before.is_none_or(|before| {
        edit.value.is_some()
            || after.is_secret != before.is_secret
            || after.data_type != before.data_type
            || after.validation != before.validation
            || (after.is_active && !before.is_active)
    });
    if touches_value {
        after.value = value(keyring, &after, before, edit)?;
    }
    if before != Some(&after) {
        after.version = before.map_or(1, |before| before.version.saturating_add(1));
        after.updated_at = now;
        after.last_modified_by = user;
    }
    Ok(after)
}

/// The checked value, as it is to be stored.
fn value(
    keyring: Option<&Keyring>,
    after: &SystemConfiguration,
    before: Option<&SystemConfiguration>,
    edit: &Edit,
) -> Result<Bson, ConfigurationError> {
    let key = after.key.as_str();
    let invalid = |why: String| ConfigurationError::Invalid { key: key.to_owned(), why };
    let keyring = || keyring.ok_or_else(|| ConfigurationError::NoKeyring { key: key.to_owned() });
    let was_secret = before.is_some_and(|before| before.is_secret);
    if was_secret && !after.is_secret && edit.value.is_none() {
        return Err(invalid("its value is secret: name a new value when it is to be shown from now on".to_owned()));
    }
    let plain = match &edit.value {
        Some(value) => value.clone(),
        None if was_secret => open_value(keyring()?, key, &after.value)?,
        None => after.value.clone(),
    };
    let rules = Rules { data_type: after.data_type, validation: after.validation.as_ref(), is_secret: after.is_secret };
    rules.check_rules().and_then(|()| rules.check(&plain)).map_err(|Invalid(why)| invalid(why))?;
    if !after.is_secret {
        return Ok(plain);
    }
    // Sealed again, a value that stays would look changed.
    match edit.value {
        None if was_secret => Ok(after.value.clone()),
        _ => Ok(seal_value(keyring()?, key, &plain)?),
    }
}

/// A setting that was not there.
fn new(key: &str, edit: &Edit, now: DateTime) -> Result<SystemConfiguration, String> {
    let is_key = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    if key.is_empty() || key.len() > LONGEST_KEY || !key.chars().all(is_key) {
        return Err(format!(
            "a key has 1 to {LONGEST_KEY} letters, digits, underscores, dots and hyphens, such as ai_rate_limit_per_minute"
        ));
    }
    let known = Known::of(key);
    let missing = |what: &str| format!("there is no such setting; to make it, name its {what}, too");
    let value = edit.value.clone().ok_or_else(|| missing("value"))?;
    let category = edit.category.or_else(|| known.map(|known| known.category)).ok_or_else(|| missing("category"))?;
    let description = edit.description.clone().or_else(|| known.map(|known| known.description.to_owned()));
    let data_type = match known {
        Some(_) => DataType::Number,
        None => type_of(&value).ok_or_else(|| missing("data type"))?,
    };
    let validation = known.map(|Known { range: [min, max], .. }| Validation {
        required: true,
        min: Some(*min),
        max: Some(*max),
        ..Validation::default()
    });
    Ok(SystemConfiguration {
        id: ObjectId::new(),
        key: key.to_owned(),
        value,
        category,
        description: description.ok_or_else(|| missing("description"))?,
        data_type,
        validation,
        environment: Environment::All,
        is_active: true,
        is_secret: false,
        last_modified_by: None,
        version: 0,
        created_at: now,
        updated_at: now,
    })
}

fn type_of(value: &Bson) -> Option<DataType> {
    DataType::ALL.iter().copied().find(|data_type| super::has_type(value, *data_type))
}

/// A field that two versions of a setting differ in.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Its path.
    pub field: String,
    /// None where the field is not there, and where a secret is not shown.
    pub before: Option<Bson>,
    /// As `before`.
    pub after: Option<Bson>,
}

/// What differs between two versions, apart from the versions themselves and their times.
///
/// # Errors
/// A version has no form in BSON.
pub fn difference(
    before: &FormerConfiguration,
    after: &FormerConfiguration,
) -> Result<Vec<Difference>, bson::error::Error> {
    let (before, after) = (flat(before)?, flat(after)?);
    let mut fields: Vec<&String> = before.keys().chain(after.keys()).collect();
    fields.sort();
    fields.dedup();
    let differs = fields.into_iter().filter(|field| before.get(*field) != after.get(*field));
    Ok(differs
        .map(|field| Difference {
            field: field.clone(),
            before: before.get(field).cloned(),
            after: after.get(field).cloned(),
        })
        .collect())
}

fn flat(version: &FormerConfiguration) -> Result<Document, bson::error::Error> {
    let mut document = bson::serialize_to_document(version)?;
    for identity in ["_id", "key", "version", "updatedAt", "replacedAt"] {
        document.remove(identity);
    }
    if let Some(Bson::Document(validation)) = document.remove("validation") {
        let rules = validation.into_iter().filter(|(_, rule)| *rule != Bson::Null);
        document.extend(rules.map(|(name, rule)| (format!("validation.{name}"), rule)));
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use bson::bson;

    use super::*;

    fn made(key: &str, value: Bson) -> Result<SystemConfiguration, ConfigurationError> {
        edited(None, key, None, &Edit { value: Some(value), ..Edit::default() }, None)
    }

    #[test]
    fn a_known_setting_needs_a_value_alone_and_another_one_says_what_it_is() {
        let setting = made(crate::documents::system_configuration::EVENTS_PER_SECOND, bson!(500)).unwrap();
        assert_eq!((setting.category, setting.version, setting.is_active), (Category::Limits, 1, true));
        let message = made("banner", bson!("hello")).unwrap_err().to_string();
        assert!(message.contains("banner") && message.contains("category"), "{message}");
        let message = made("a key", bson!("hello")).unwrap_err().to_string();
        assert!(message.contains("such as ai_rate_limit_per_minute"), "{message}");
    }

    #[test]
    fn a_version_counts_only_changes() {
        let setting = made(crate::documents::system_configuration::EVENTS_PER_SECOND, bson!(500)).unwrap();
        let edit = |value| Edit { value: Some(value), ..Edit::default() };
        let again = edited(None, &setting.key, Some(&setting), &edit(bson!(500)), None).unwrap();
        assert_eq!(again, setting);
        let by = ObjectId::new();
        let changed = edited(None, &setting.key, Some(&setting), &edit(bson!(600)), Some(by)).unwrap();
        assert_eq!((changed.version, changed.last_modified_by), (2, Some(by)));
        let refused = edited(None, &setting.key, Some(&setting), &edit(bson!(-1)), None).unwrap_err().to_string();
        assert!(refused.contains("validation.min"), "{refused}");
    }

    #[test]
    fn a_setting_with_a_bad_value_can_be_taken_out_of_force() {
        let mut setting = made(crate::documents::system_configuration::EVENTS_PER_SECOND, bson!(500)).unwrap();
        setting.value = bson!("many");
        let off = Edit { is_active: Some(false), ..Edit::default() };
        let off = edited(None, &setting.key, Some(&setting), &off, None).unwrap();
        assert!(!off.is_active);
        let on = Edit { is_active: Some(true), ..Edit::default() };
        assert!(edited(None, &off.key, Some(&off), &on, None).is_err());
    }

    #[test]
    fn a_difference_names_the_fields_and_shows_no_secret() {
        let setting = made(crate::documents::system_configuration::EVENTS_PER_SECOND, bson!(500)).unwrap();
        let mut other = setting.clone();
        other.value = bson!(600);
        other.validation = None;
        let [before, after] = [&setting, &other].map(|setting| as_former(setting, DateTime::now()));
        let fields: Vec<_> = difference(&before, &after).unwrap().into_iter().map(|found| found.field).collect();
        assert_eq!(fields, ["validation.max", "validation.min", "validation.required", "value"]);
        other.is_secret = true;
        assert_eq!(as_former(&other, DateTime::now()).value, None);
    }
}
