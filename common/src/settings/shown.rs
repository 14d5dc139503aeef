//! `check-config`: the settings in force as TOML, each with where its value comes from, and without secrets.

use figment::Figment;
use secrecy::{ExposeSecret, SecretString};
use serde::Serializer;
use serde_json::Value;

use super::{ENVIRONMENT_PREFIX, Settings};
use crate::terminal::json_escaped;

/// What stands for a secret.
const MASK: &str = "********";

/// The layers that a value can come from; what neither holds is the default.
pub(super) struct Layers {
    pub(super) environment: Figment,
    pub(super) file: Figment,
    pub(super) file_name: String,
}

/// `settings` as TOML, each value on one line: text, numbers and lists of JSON are those of TOML, too.
///
/// # Errors
/// A value has no form in JSON.
pub(super) fn shown(settings: &Settings, layers: &Layers) -> serde_json::Result<String> {
    let mut shown = String::from("# The settings in force, and where each comes from. Secrets are masked.\n");
    for (section, keys) in serde_json::to_value(settings)?.as_object().into_iter().flatten() {
        shown.push_str(&format!("\n[{section}]\n"));
        for (key, value) in keys.as_object().into_iter().flatten() {
            let value = json_escaped(&toml(value));
            shown.push_str(&format!("{key} = {value}  # {}\n", source(&format!("{section}.{key}"), layers)));
        }
    }
    Ok(shown)
}

/// A table is the one value that TOML writes in another way.
fn toml(value: &Value) -> String {
    let Value::Object(fields) = value else { return value.to_string() };
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{} = {}", Value::from(name.as_str()), toml(value))).collect();
    format!("{{{}}}", fields.join(", "))
}

fn source(key: &str, layers: &Layers) -> String {
    let Layers { environment, file, file_name } = layers;
    let is_secret = key.ends_with("password") || key.ends_with("secret_key");
    let password_file = is_secret.then(|| format!("{key}_file"));
    if environment.contains(key) {
        format!("environment: {ENVIRONMENT_PREFIX}{}", key.to_uppercase().replace('.', "__"))
    } else if file.contains(key) {
        format!("file {file_name}")
    } else if let Some(named) = password_file.filter(|named| environment.contains(named) || file.contains(named)) {
        format!("the file that {named} names, if it names one")
    } else {
        "default".to_owned()
    }
}

/// Whether there is a secret may be seen, and nothing else.
pub(super) fn masked<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if secret.expose_secret().is_empty() { "" } else { MASK })
}

/// A connection string without user, password, and values of options that can hold a secret.
pub(super) fn masked_uri<S: Serializer>(uri: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&without_secrets(uri.expose_secret()).unwrap_or_else(|| MASK.to_owned()))
}

fn without_secrets(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://").filter(|(scheme, _)| scheme.starts_with("mongodb"))?;
    let (before, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = before.split_once('/').unwrap_or((before, ""));
    let hosts = match authority.rsplit_once('@') {
        Some((_, hosts)) => format!("{MASK}@{hosts}"),
        // Where @host is forgotten, a password stands in the place of the port.
        None if authority.split(',').all(is_address) => authority.to_owned(),
        None => return None,
    };
    // A password with an @ that was not percent-encoded would reach beyond.
    if database.contains('@') || options.contains('@') {
        return None;
    }
    let options = options.split('&').filter(|option| !option.is_empty()).map(|option| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let lower = name.to_lowercase();
        let is_secret = ["password", "properties", "token", "user"].iter().any(|word| lower.contains(word));
        if is_secret { format!("{name}={MASK}") } else { format!("{name}={value}") }
    });
    let options = options.collect::<Vec<_>>().join("&");
    let question_mark = if options.is_empty() { "" } else { "?" };
    Some(format!("{scheme}://{hosts}/{database}{question_mark}{options}"))
}

fn is_address(address: &str) -> bool {
    let port = address.strip_prefix('[').map_or(address, |rest| rest.split_once(']').map_or(rest, |(_, port)| port));
    port.split_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_is_shown_without_its_secrets() {
        for (uri, shown) in [
            ("mongodb://127.0.0.1:27017/?replicaSet=rs0", Some("mongodb://127.0.0.1:27017/?replicaSet=rs0")),
            ("mongodb://[::1]:27017,h/d", Some("mongodb://[::1]:27017,h/d")),
            ("mongodb+srv://u:hunter2@h/?w=1", Some("mongodb+srv://********@h/?w=1")),
            (
                "mongodb://h/?tlsCertificateKeyFilePassword=hunter2&w=1",
                Some("mongodb://h/?tlsCertificateKeyFilePassword=********&w=1"),
            ),
            ("mongodb://u:hun@ter2@h/", Some("mongodb://********@h/")),
            ("mongodb://u:hunter2/", None),
            ("mongodb://u:hun/ter2@h/", None),
            ("u:hunter2@h", None),
        ] {
            assert_eq!(without_secrets(uri).as_deref(), shown, "{uri}");
        }
    }
}
