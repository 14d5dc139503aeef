//! Another reading of the same bytes, simple and slow: serde_json's tree, looked up by name. It knows no rules, so it is only
//! asked about events that were accepted.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::net::{IpAddr, SocketAddr};

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document};
use common::documents::activity_log::Action;
use common::documents::usage_analytics::{Context, Location, Metadata, Performance, Usage};
use common::documents::{ActivityLog, HealthCheck, UsageAnalytics};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A document of one of the three collections.
#[derive(Debug, PartialEq)]
pub enum Stored {
    /// Of `usage_analytics`.
    Usage(Box<UsageAnalytics>),
    /// Of `activity_logs`.
    Activity(Box<ActivityLog>),
    /// Of `health_checks`.
    Check(HealthCheck),
}

/// What an accepted message must be stored as.
pub fn read(value: &[u8], headers: &[(&'static str, Vec<u8>)]) -> Stored {
    let value: Value = serde_json::from_slice(value).unwrap();
    let header = |name: &str| {
        let (_, value) = headers.iter().find(|(header, _)| *header == name)?;
        std::str::from_utf8(value).ok()
    };
    let says_structured = header("content-type").is_some_and(|text| text.to_lowercase().contains("cloudevents"));
    let is_structured = says_structured || header("ce_type").is_none();
    let attribute = |name: &str| {
        let text = if is_structured { value[name].as_str() } else { header(&format!("ce_{name}")) };
        text.unwrap().to_owned()
    };
    let data = if is_structured { &value["data"] } else { &value };
    let timestamp = date(&attribute("time"));
    let hash = Sha256::digest(format!("{}\0{}", attribute("source"), attribute("id")));
    let second = timestamp.timestamp_millis().div_euclid(1_000) as u32;
    let id = ObjectId::from_bytes([&second.to_be_bytes(), &hash[..8]].concat().try_into().unwrap());
    match attribute("type").as_str() {
        "com.devtoolkit.tool-usage.v1" => Stored::Usage(Box::new(UsageAnalytics {
            id,
            user_id: object_id(&data["userId"]),
            tool_id: object_id(&data["toolId"]).unwrap(),
            session_id: object_id(&data["sessionId"]).unwrap(),
            usage: usage(&data["usage"]),
            context: present(&data["context"]).map(context),
            performance: present(&data["performance"]).map(|performance| Performance {
                response_time: performance["responseTime"].as_f64(),
                memory_usage: performance["memoryUsage"].as_f64(),
                cpu_usage: performance["cpuUsage"].as_f64(),
            }),
            metadata: present(&data["metadata"]).map(metadata),
            timestamp,
            anonymised: None,
        })),
        "com.devtoolkit.activity.v1" => Stored::Activity(Box::new(ActivityLog {
            id,
            user_id: object_id(&data["userId"]),
            session_id: object_id(&data["sessionId"]),
            action: match data["action"].as_str().unwrap() {
                "page_view" => Action::PageView,
                "signup" => Action::Signup,
                "login" => Action::Login,
                "login_failed" => Action::LoginFailed,
                "logout" => Action::Logout,
                other => panic!("{other} was accepted"),
            },
            path: text(&data["path"]),
            context: present(&data["context"]).map(context),
            source: ["login", "login_failed"].contains(&data["action"].as_str().unwrap()).then(|| attribute("source")),
            timestamp,
            anonymised: None,
        })),
        "com.devtoolkit.health-check.v1" => Stored::Check(HealthCheck {
            id,
            tool_id: object_id(&data["toolId"]).unwrap(),
            healthy: data["healthy"].as_bool().unwrap(),
            response_time: data["responseTime"].as_f64(),
            message: text(&data["message"]),
            timestamp,
        }),
        other => panic!("{other} was accepted"),
    }
}

fn usage(usage: &Value) -> Usage {
    let whole = |name: &str| usage[name].as_f64().unwrap() as i64;
    Usage {
        start_time: date(usage["startTime"].as_str().unwrap()),
        end_time: date(usage["endTime"].as_str().unwrap()),
        duration: whole("duration"),
        input_size: whole("inputSize"),
        output_size: whole("outputSize"),
        success: usage["success"].as_bool().unwrap(),
        error_message: text(&usage["errorMessage"]),
    }
}

fn context(context: &Value) -> Context {
    Context {
        user_agent: text(&context["userAgent"]),
        ip_address: text(&context["ipAddress"]).map(address),
        referrer: text(&context["referrer"]),
        location: present(&context["location"]).map(|location| Location {
            country: text(&location["country"]),
            region: text(&location["region"]),
            city: text(&location["city"]),
        }),
    }
}

/// Alone or with a port; a mapped one is an IPv4 address.
fn address(text: String) -> String {
    let address = text.parse().or_else(|_| text.parse().map(|with_port: SocketAddr| with_port.ip()));
    address.map_or(text, |address: IpAddr| address.to_canonical().to_string())
}

fn metadata(metadata: &Value) -> Metadata {
    let features = metadata["features"].as_array();
    let custom_data = metadata["customData"].as_object();
    Metadata {
        version: text(&metadata["version"]),
        features: features.map(|features| features.iter().map(|feature| text(feature).unwrap()).collect()),
        custom_data: custom_data.map(|fields| fields.iter().map(custom_entry).collect::<Document>()),
    }
}

fn custom_entry((key, value): (&String, &Value)) -> (String, Bson) {
    (key.clone(), custom(value))
}

fn custom(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(value) => Bson::Boolean(*value),
        Value::String(text) => Bson::String(text.clone()),
        Value::Array(values) => Bson::Array(values.iter().map(custom).collect()),
        Value::Object(fields) => Bson::Document(fields.iter().map(custom_entry).collect()),
        Value::Number(number) => match (number.as_i64(), number.as_f64().unwrap()) {
            (Some(value), _) => i32::try_from(value).map_or(Bson::Int64(value), Bson::Int32),
            // serde_json reads the whole number -0 as a fraction, because there is a -0.0 and no whole -0.
            (None, value) if value == 0.0 && value.is_sign_negative() => Bson::Int32(0),
            (None, value) => Bson::Double(value),
        },
    }
}

fn present(value: &Value) -> Option<&Value> {
    (!value.is_null()).then_some(value)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn object_id(value: &Value) -> Option<ObjectId> {
    value.as_str().map(|text| ObjectId::parse_str(text).unwrap())
}

fn date(text: &str) -> DateTime {
    DateTime::from_millis(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
}
