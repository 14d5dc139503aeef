//! The rights that the file and the settings want.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, bail};
use common::settings;
use serde::Deserialize;

use super::acl::{Acl, Kind, Operation};

/// Where the file is in the repository, and in the image.
pub const FILE: &str = "config/kafka/access.json";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    acls: Vec<Entry>,
}

/// Some operations of a principal on a topic or a group.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    principal: String,
    topic: Option<String>,
    group: Option<String>,
    operations: Vec<Operation>,
}

/// Reads the file, for the topic and the group of the settings.
///
/// # Errors
/// The file cannot be read, or is not of the form.
pub fn read(file: &Path, settings: &settings::Kafka) -> anyhow::Result<BTreeSet<Acl>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{} cannot be read; name the file with the rights with --file", file.display()))?;
    parse(&text, settings).with_context(|| format!("{} is not as it should be", file.display()))
}

fn parse(text: &str, settings: &settings::Kafka) -> anyhow::Result<BTreeSet<Acl>> {
    let File { acls } = serde_json::from_str(text)?;
    let mut wanted = BTreeSet::new();
    for Entry { principal, topic, group, operations } in acls {
        let (kind, name) = match (topic, group) {
            (Some(topic), None) => (Kind::Topic, topic),
            (None, Some(group)) => (Kind::Group, group),
            _ => bail!("an entry of {principal} names {{topic}} and {{group}} or neither, expected one of the two"),
        };
        if !principal.starts_with("User:") {
            bail!("principal is {principal}, expected User: and a name, such as User:ingest");
        }
        let name = name.replace("{topic}", &settings.topic).replace("{group}", &settings.group_id);
        wanted.extend(operations.into_iter().map(|operation| Acl {
            principal: principal.clone(),
            kind,
            name: name.clone(),
            is_prefix: false,
            operation,
            host: "*".to_owned(),
            is_allowed: true,
        }));
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_may_write_events_and_nothing_else() {
        let settings = settings::Kafka { topic: "events".to_owned(), ..settings::Kafka::default() };
        let wanted = parse(include_str!("../../../../config/kafka/access.json"), &settings).unwrap();
        let of_tools: Vec<String> =
            wanted.iter().filter(|acl| acl.principal == "User:tools").map(ToString::to_string).collect();
        assert_eq!(of_tools, ["Write on topic events"]);
    }

    #[test]
    fn an_entry_names_one_topic_or_one_group() {
        for entry in [
            r#"{ "principal": "User:a", "operations": ["Read"] }"#,
            r#"{ "principal": "User:a", "topic": "t", "group": "g", "operations": ["Read"] }"#,
            r#"{ "principal": "a", "topic": "t", "operations": ["Read"] }"#,
            r#"{ "principal": "User:a", "topic": "t", "operations": ["Other"] }"#,
        ] {
            let text = format!("{{ \"acls\": [{entry}] }}");
            assert!(parse(&text, &settings::Kafka::default()).is_err(), "{entry}");
        }
    }
}
