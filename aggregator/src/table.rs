//! How the aggregator's tables look.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Row, Table, TableStyle};

/// A line under the header and nothing else: numbers need white space, not boxes.
const RULED: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A table with left-aligned columns, but for those in `right`.
pub fn new(header: impl Into<Row>, right: std::ops::RangeInclusive<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(RULED).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    for (_, column) in table.column_iter_mut().enumerate().filter(|(index, _)| right.contains(index)) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
