//! One difference in words.

use common::print_line;
use common::terminal::{self, printable};
use serde::Serialize;

use crate::report;

/// As `--json` prints it.
#[derive(Debug, Serialize)]
struct Report<'a> {
    differences: &'a [Line],
}

/// One difference.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub what: String,
    pub differs: String,
}

/// Prints them as a table or as JSON.
///
/// # Errors
/// They have no form in JSON.
pub(super) fn print(columns: [&str; 2], lines: &[Line], json: bool) -> anyhow::Result<()> {
    if json {
        return terminal::print_json(&Report { differences: lines });
    }
    let rows = lines.iter().map(|line| [printable(&line.what), printable(&line.differs)]);
    print_line!("{}", report::table(columns, rows).trim_fmt());
    Ok(())
}
