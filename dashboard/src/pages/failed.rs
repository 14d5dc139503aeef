//! The page of a failure.

use askama::Template;

use super::frame::Frame;
use crate::failure::Problem;

#[derive(Template)]
#[template(path = "failed.html")]
struct Page<'a> {
    frame: Frame,
    problem: &'a Problem,
}

/// The page; without words where it cannot be written.
pub fn page(problem: &Problem) -> String {
    Page { frame: Frame::new(problem.title), problem }.render().unwrap_or_default()
}
