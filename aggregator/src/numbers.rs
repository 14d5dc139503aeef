//! The numbers of the daily document one by one: where each stands in it, what it means, and how it is read.

use common::documents::system_analytics::Metrics;

/// How a number is written, and what its change is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How many.
    Count,
    /// How many, as a mean.
    Mean,
    /// Minutes.
    Minutes,
    /// Milliseconds.
    Millis,
    /// 0 to 1, written as percent.
    Share,
    /// 0 to 100.
    Percent,
}

/// Which way is better, where one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// More is better.
    More,
    /// Less is better.
    Less,
    /// Neither.
    Neither,
}

/// A number of the daily document.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// For people.
    pub name: &'static str,
    /// Where it stands in the document, below `metrics`.
    pub path: &'static str,
    /// What it counts, in a sentence.
    pub definition: &'static str,
    /// How it is written.
    pub kind: Kind,
    /// Which way is better.
    pub better: Better,
    /// Takes it out of the document; none where the document has null.
    pub read: fn(&Metrics) -> Option<f64>,
}

const fn number(
    name: &'static str,
    path: &'static str,
    definition: &'static str,
    (kind, better): (Kind, Better),
    read: fn(&Metrics) -> Option<f64>,
) -> Number {
    Number { name, path, definition, kind, better, read }
}

/// Who there is and who came.
pub const USERS: &[Number] = &[
    number(
        "Total",
        "users.total",
        "Users who had signed up before the end of the day.",
        (Kind::Count, Better::More),
        |day| Some(day.users.total as f64),
    ),
    number(
        "Active",
        "users.active",
        "Distinct users of tool uses and activities; a failed login is no activity.",
        (Kind::Count, Better::More),
        |day| day.users.active.map(|n| n as f64),
    ),
    number("New", "users.new", "Users who signed up within the day.", (Kind::Count, Better::More), |day| {
        Some(day.users.new as f64)
    }),
    number(
        "Verified",
        "users.verified",
        "Users, of the total, whose address was confirmed when the day was first rolled up.",
        (Kind::Count, Better::More),
        |day| Some(day.users.verified as f64),
    ),
    number(
        "Premium",
        "users.premium",
        "Users, of the total, with an active pro or enterprise plan when the day was first rolled up.",
        (Kind::Count, Better::More),
        |day| Some(day.users.premium as f64),
    ),
];

/// What was used.
pub const TOOLS: &[Number] = &[
    number("Uses", "tools.totalUsage", "Tool uses, with and without an account.", (Kind::Count, Better::More), |day| {
        Some(day.tools.total_usage as f64)
    }),
    number(
        "Users of tools",
        "tools.uniqueUsers",
        "Distinct users of the tool uses.",
        (Kind::Count, Better::More),
        |day| Some(day.tools.unique_users as f64),
    ),
    number(
        "Visit of tool use alone, mean",
        "tools.averageSessionDuration",
        "Mean length of the visits made of tool uses alone; a gap of more than 30 minutes ends a visit.",
        (Kind::Minutes, Better::Neither),
        |day| day.tools.average_session_duration,
    ),
];

/// How well it went.
pub const PERFORMANCE: &[Number] = &[
    number(
        "Response time, mean",
        "performance.averageResponseTime",
        "Mean response time of the tool uses that have one.",
        (Kind::Millis, Better::Less),
        |day| day.performance.average_response_time,
    ),
    number(
        "Failed uses",
        "performance.errorRate",
        "Failed tool uses divided by tool uses.",
        (Kind::Share, Better::Less),
        |day| day.performance.error_rate,
    ),
    number(
        "Uptime",
        "performance.uptime",
        "Healthy checks divided by health checks.",
        (Kind::Percent, Better::More),
        |day| day.performance.uptime,
    ),
    number(
        "Users at once, peak",
        "performance.peakConcurrentUsers",
        "The largest number of users present at one instant; an event makes its user present until 5 minutes after its end.",
        (Kind::Count, Better::More),
        |day| day.performance.peak_concurrent_users.map(|n| n as f64),
    ),
];

/// How people moved about.
pub const ENGAGEMENT: &[Number] = &[
    number("Page views", "engagement.pageViews", "Pages that were viewed.", (Kind::Count, Better::More), |day| {
        day.engagement.page_views.map(|n| n as f64)
    }),
    number(
        "Bounced visits",
        "engagement.bounceRate",
        "Visits with exactly one page view and no tool use, divided by visits with a page view.",
        (Kind::Share, Better::Less),
        |day| day.engagement.bounce_rate,
    ),
    number(
        "Visit, mean",
        "engagement.averageSessionDuration",
        "Mean length of all visits, of tool uses and activities together.",
        (Kind::Minutes, Better::More),
        |day| day.engagement.average_session_duration,
    ),
    number(
        "Returning users",
        "engagement.returnUserRate",
        "Active users who had signed up before the day, divided by active users.",
        (Kind::Share, Better::More),
        |day| day.engagement.return_user_rate,
    ),
];

/// Every number, in the order of the document.
pub const SECTIONS: &[(&str, &[Number])] =
    &[("Users", USERS), ("Tools", TOOLS), ("Performance", PERFORMANCE), ("Engagement", ENGAGEMENT)];

#[cfg(test)]
mod tests {
    use bson::{Bson, Document};

    use super::*;

    /// A document in which every number is another one.
    fn numbered() -> (Metrics, Document) {
        let mut next = 0;
        let mut section = |numbers: &[Number]| {
            let field = |number: &Number| {
                next += 1;
                let value = if number.kind == Kind::Count { Bson::Int64(next) } else { Bson::Double(next as f64) };
                (number.path.rsplit('.').next().unwrap().to_owned(), value)
            };
            numbers.iter().map(field).collect::<Document>()
        };
        let mut document = Document::new();
        for (name, numbers) in SECTIONS {
            document.insert(name.to_lowercase(), section(numbers));
        }
        document.get_document_mut("tools").unwrap().insert("mostUsedTools", Bson::Array(vec![]));
        (bson::deserialize_from_document(document.clone()).unwrap(), document)
    }

    #[test]
    fn every_number_is_read_from_where_its_path_says() {
        let (metrics, document) = numbered();
        for number in SECTIONS.iter().flat_map(|(_, numbers)| *numbers) {
            let (section, field) = number.path.split_once('.').unwrap();
            let stored = document.get_document(section).unwrap().get(field).unwrap();
            let stored = stored.as_f64().or_else(|| stored.as_i64().map(|n| n as f64));
            assert_eq!((number.read)(&metrics), stored, "{}", number.path);
        }
    }
}
