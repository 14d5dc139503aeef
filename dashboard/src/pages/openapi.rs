//! `/api/v1/openapi.json`: the API as programs read it. A test holds it to the table of routes.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const DOCUMENT: &str = include_str!("../../static/openapi.json");

/// `GET /api/v1/openapi.json`.
pub async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::access::is_program;
    use crate::routes::rules;
    use crate::viewer::Who;

    #[test]
    fn it_describes_every_route_for_programs_with_its_role_and_no_other() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let described: BTreeMap<&str, &Value> =
            document["paths"].as_object().unwrap().iter().map(|(path, item)| (path.as_str(), &item["get"])).collect();
        let routes: BTreeMap<&str, Who> =
            rules().into_iter().filter(|rule| is_program(rule.path)).map(|rule| (rule.path, rule.who)).collect();
        assert_eq!(described.keys().collect::<Vec<_>>(), routes.keys().collect::<Vec<_>>());
        for (path, who) in routes {
            let role = described[path]["description"].as_str().unwrap_or_default();
            let expected = match who {
                Who::Anyone => "",
                Who::User => "For the role user.",
                Who::Moderator => "For the role moderator.",
                Who::Admin => "For the role admin.",
            };
            assert_eq!(role, expected, "{path}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let references = DOCUMENT.split("\"$ref\": \"#").skip(1).filter_map(|rest| rest.split('"').next());
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
