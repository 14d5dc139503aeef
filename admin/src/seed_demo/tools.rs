//! `tools` of the demo.

use common::day::Day;
use common::demo::{self, CATEGORIES, DemoTool};
use common::documents::tool::{
    Configuration, Dependencies, Features, Limits, Metadata, Performance, Timestamps, Tool, Ui, Usage,
};

use super::chance::{Chance, days_before};
use super::write::Kept;

/// What the aggregator counts.
pub(super) const KEPT: &[Kept] = &[
    "usage.totalUsage",
    "usage.dailyUsage",
    "usage.weeklyUsage",
    "usage.monthlyUsage",
    "performance",
    "timestamps.lastUsed",
];

const COLORS: [&str; 6] = ["#3B82F6", "#10B981", "#F59E0B", "#EF4444", "#8B5CF6", "#06B6D4"];
const LICENSES: [&str; 3] = ["MIT", "Apache-2.0", "BSD-3-Clause"];
const CHANGES: [&str; 5] = [
    "Faster on large input",
    "Clearer error messages",
    "Keyboard shortcuts",
    "Copies the result with one click",
    "Remembers the last settings",
];
const MEBIBYTE: i64 = 1024 * 1024;

pub(super) fn tool(number: u32, as_of: Day) -> Tool {
    let DemoTool { id, name, slug, description, category, subcategory, ai_powered } = demo::tool(number);
    let mut chance = Chance::for_document(id);
    let created_at = chance.moment(days_before(as_of, 780), days_before(as_of, 60));
    let updated_at = chance.moment(created_at, days_before(as_of, 1));
    let is_deprecated = number % 40 == 37;
    let requires_pro = ai_powered && chance.percent(40.0);
    let was_rated = chance.percent(90.0);
    let version = format!("{}.{}.{}", chance.between(1, 4), chance.between(0, 9), chance.between(0, 9));
    let icon = CATEGORIES.iter().find(|shelf| shelf.slug == category).map_or("wrench", |shelf| shelf.icon);
    let mut tags: Vec<String> = slug.split('-').map(str::to_owned).collect();
    tags.extend([category, subcategory].map(str::to_owned));
    tags.sort();
    tags.dedup();
    let external = if ai_powered { "@google/generative-ai" } else { "codemirror" };
    Tool {
        id,
        metadata: Metadata {
            version,
            author: "DevToolkit Team".into(),
            license: Some(chance.pick(&LICENSES).into()),
            repository: Some(format!("https://github.com/devtoolkit/{slug}")),
            documentation: Some(format!("https://docs.devtoolkit.example/{slug}")),
            changelog: chance.percent(70.0).then(|| chance.pick(&CHANGES).into()),
        },
        features: Features {
            ai_powered,
            real_time: !ai_powered && chance.percent(60.0),
            collaborative: chance.percent(10.0),
            offline: !ai_powered && chance.percent(50.0),
            api_access: chance.percent(40.0),
        },
        configuration: Configuration {
            is_active: !is_deprecated,
            is_public: true,
            is_featured: number < 8,
            requires_auth: ai_powered || chance.percent(15.0),
            requires_pro,
            maintenance_mode: number % 50 == 41,
        },
        // Nothing was used yet: the aggregator counts on from here, and its counts are to equal a recount of the events.
        usage: Usage {
            total_usage: 0,
            daily_usage: 0,
            weekly_usage: 0,
            monthly_usage: 0,
            average_rating: was_rated.then(|| chance.between(34, 50) as f64 / 10.0),
            total_ratings: if was_rated { chance.between(3, 400) } else { 0 },
        },
        performance: Performance::default(),
        ui: Ui {
            icon: icon.into(),
            color: COLORS[number as usize % COLORS.len()].into(),
            screenshots: vec![format!("https://static.devtoolkit.example/{slug}/1.png")],
            demo_url: chance.percent(60.0).then(|| format!("https://demo.devtoolkit.example/{slug}")),
        },
        dependencies: Dependencies {
            external: vec![external.into()],
            internal: if number > 0 && chance.percent(15.0) {
                vec![demo::tool_id(chance.between(0, i64::from(number) - 1) as u32)]
            } else {
                vec![]
            },
        },
        limits: Limits {
            daily_limit: if ai_powered { 50 } else { 1_000 },
            monthly_limit: if ai_powered { 1_000 } else { 20_000 },
            rate_limit_per_minute: if ai_powered { 10 } else { 120 },
            max_file_size: if ai_powered { MEBIBYTE } else { 5 * MEBIBYTE },
        },
        timestamps: Timestamps {
            created_at,
            updated_at,
            last_used: None,
            deprecated_at: is_deprecated.then_some(updated_at),
        },
        name: name.into_owned(),
        slug,
        description: description.into(),
        category: category.into(),
        subcategory: Some(subcategory.into()),
        tags,
    }
}
