//! CSV (RFC 4180): a header, then a line for each row.

/// The lines with their header.
pub fn text<H: AsRef<str>>(header: &[H], lines: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = String::new();
    line(&mut text, header.iter().map(AsRef::as_ref));
    for cells in lines {
        line(&mut text, cells.iter().map(String::as_str));
    }
    text
}

/// The exact value; empty where there is none.
pub fn number(value: Option<f64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A text that a spreadsheet does not take for a formula.
pub fn words(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

fn line<'a>(text: &mut String, cells: impl Iterator<Item = &'a str>) {
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            text.push(',');
        }
        if cell.contains([',', '"', '\n', '\r']) {
            text.push('"');
            text.push_str(&cell.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(cell);
        }
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let lines = [vec!["a,b".to_owned(), "say \"hi\"".to_owned()], vec![words("=1+1"), number(Some(-0.5))]];
        assert_eq!(text(&["x", "y"], lines), "x,y\r\n\"a,b\",\"say \"\"hi\"\"\"\r\n'=1+1,-0.5\r\n");
        assert_eq!(number(None), "");
    }
}
