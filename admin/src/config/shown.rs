//! How settings look.

use bson::Bson;
use common::configuration::json;
use common::documents::SystemConfiguration;
use common::documents::configuration_history::FormerConfiguration;
use common::documents::system_configuration::Validation;
use serde::Serialize;
use serde_json::Value;

use crate::text::instant_text;

/// What stands in the place of a secret.
pub(super) const MASK: &str = "(secret)";

/// A version of a setting, as `--json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    pub key: String,
    /// Absent for a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    category: &'static str,
    description: String,
    data_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation: Option<Validation>,
    environment: &'static str,
    is_active: bool,
    is_secret: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified_by: Option<String>,
    pub version: i64,
    pub updated_at: String,
    /// When the next version came; absent for the present one.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_at: Option<String>,
}

impl From<&SystemConfiguration> for Version {
    fn from(setting: &SystemConfiguration) -> Self {
        Self {
            key: setting.key.clone(),
            value: (!setting.is_secret).then(|| setting.value.clone().into_relaxed_extjson()),
            category: setting.category.as_str(),
            description: setting.description.clone(),
            data_type: setting.data_type.as_str(),
            validation: setting.shown_validation(),
            environment: setting.environment.as_str(),
            is_active: setting.is_active,
            is_secret: setting.is_secret,
            last_modified_by: setting.last_modified_by.map(|id| id.to_hex()),
            version: setting.version,
            updated_at: instant_text(setting.updated_at.to_chrono()),
            replaced_at: None,
        }
    }
}

impl From<&FormerConfiguration> for Version {
    fn from(former: &FormerConfiguration) -> Self {
        Self {
            key: former.key.clone(),
            value: former.value.clone().map(Bson::into_relaxed_extjson),
            category: former.category.as_str(),
            description: former.description.clone(),
            data_type: former.data_type.as_str(),
            validation: former.validation.clone(),
            environment: former.environment.as_str(),
            is_active: former.is_active,
            is_secret: former.is_secret,
            last_modified_by: former.last_modified_by.map(|id| id.to_hex()),
            version: former.version,
            updated_at: instant_text(former.updated_at.to_chrono()),
            replaced_at: Some(instant_text(former.replaced_at.to_chrono())),
        }
    }
}

impl Version {
    /// The value for a table.
    pub fn value(&self) -> String {
        self.value.as_ref().map_or_else(|| MASK.to_owned(), Value::to_string)
    }

    /// Whether it is in force.
    pub fn state(&self) -> &'static str {
        if self.is_active { "in force" } else { "not in force" }
    }

    /// Name and text of each field.
    pub fn rows(&self) -> Vec<[String; 2]> {
        let mut rows = vec![
            ["key".to_owned(), self.key.clone()],
            ["value".to_owned(), self.value()],
            ["may be".to_owned(), self.rules()],
            ["category".to_owned(), self.category.to_owned()],
            ["description".to_owned(), self.description.clone()],
            ["environment".to_owned(), self.environment.to_owned()],
            ["state".to_owned(), self.state().to_owned()],
            ["version".to_owned(), self.version.to_string()],
            ["changed".to_owned(), self.updated_at.clone()],
        ];
        rows.extend(self.last_modified_by.iter().map(|id| ["changed by user".to_owned(), id.clone()]));
        rows
    }

    /// What the value may be.
    pub fn rules(&self) -> String {
        let mut rules = vec![self.data_type.to_owned()];
        let Some(validation) = &self.validation else { return rules.concat() };
        if validation.required {
            rules.push("required".to_owned());
        }
        rules.extend(validation.min.map(|min| format!("from {min}")));
        rules.extend(validation.max.map(|max| format!("to {max}")));
        rules.extend(validation.pattern.iter().map(|pattern| format!("matches {pattern}")));
        rules.extend(validation.r#enum.iter().map(|allowed| format!("one of {}", json(&Bson::Array(allowed.clone())))));
        rules.join(", ")
    }
}
