//! `tool_categories` of the demo.

use common::day::Day;
use common::demo::{self, CATEGORIES};
use common::documents::ToolCategory;

use super::chance::days_before;

pub(super) fn all(as_of: Day) -> impl Iterator<Item = ToolCategory> {
    let created_at = days_before(as_of, 800);
    CATEGORIES.iter().zip(0u32..).map(move |(category, number)| ToolCategory {
        id: demo::id("category", number),
        slug: category.slug.into(),
        name: category.name.into(),
        description: Some(category.description.into()),
        icon: Some(category.icon.into()),
        order: i64::from(number) + 1,
        is_active: true,
        created_at,
        updated_at: created_at,
    })
}
