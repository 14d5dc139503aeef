//! `summary.html`: an export as a page for the person. No script, nothing from elsewhere, and every text escaped.

use std::cmp::Reverse;
use std::fmt::{Display, Write};

use bson::{Bson, Document};
use common::personal::{self, Kind};

use super::facts::{Facts, ToolUse, instant};
use super::manifest::Manifest;
use super::subject::Subject;

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Your data at DevToolkit</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.8rem 0.3rem 0; border-bottom: 1px solid #ccc; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
</style>
</head>
<body>
"#;

/// Tools that are listed.
const MOST_TOOLS: usize = 100;

/// The page.
pub(super) fn page(person: &Subject, manifest: &Manifest, facts: &Facts) -> String {
    let mut page = HEAD.to_owned();
    let at = manifest.exported_at.format("%Y-%m-%d %H:%M UTC");
    page += "<h1>Your data at DevToolkit</h1>\n";
    paragraph(
        &mut page,
        format_args!(
            "This is what DevToolkit kept about you (user {}) at {at}. Passwords, tokens and everything about other people are \
             left out. The files beside this page have every document.",
            person.id
        ),
    );
    if !person.has_account {
        paragraph(&mut page, "You have no account any more. What is listed here was kept under your former user id.");
    }
    files(&mut page, manifest, facts);
    account(&mut page, facts);
    tools(&mut page, facts);
    activities(&mut page, facts);
    suggestions(&mut page, facts, person);
    page += "</body>\n</html>\n";
    page
}

fn files(page: &mut String, manifest: &Manifest, facts: &Facts) {
    heading(page, "What there is");
    start_table(page, &["File", "What for", "From", "To", "#Documents"]);
    for part in &manifest.collections {
        let collection = part.collection.unwrap_or_default();
        let purpose = personal::place(Kind::Collection, collection).map_or("", |place| place.purpose);
        let (from, to) = facts.periods.get(collection).map_or(("", ""), |(from, to)| (from.as_str(), to.as_str()));
        let documents = part.documents.unwrap_or_default();
        row(page, &[&part.file, &purpose, &from, &to], &[documents]);
    }
    page.push_str("</table>\n");
}

fn account(page: &mut String, facts: &Facts) {
    let Some(account) = &facts.account else { return };
    heading(page, "Your account");
    start_table(page, &["Field", "Value"]);
    fields(page, account, "");
    page.push_str("</table>\n");
}

fn fields(page: &mut String, document: &Document, prefix: &str) {
    for (name, value) in document {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix} › {name}") };
        match value {
            Bson::Document(inner) => fields(page, inner, &name),
            value => row(page, &[&name, &text(value)], &[]),
        }
    }
}

fn text(value: &Bson) -> String {
    match value {
        Bson::String(text) => text.clone(),
        Bson::DateTime(time) => instant(*time),
        Bson::Boolean(true) => "yes".to_owned(),
        Bson::Boolean(false) => "no".to_owned(),
        Bson::ObjectId(id) => id.to_hex(),
        Bson::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.clone().into_relaxed_extjson().to_string(),
    }
}

fn tools(page: &mut String, facts: &Facts) {
    let mut tools: Vec<&ToolUse> = facts.tools.values().collect();
    if tools.is_empty() {
        return;
    }
    tools.sort_by_key(|tool| Reverse(tool.uses));
    heading(page, "Tools you used");
    start_table(page, &["Tool", "#Uses", "#Failed"]);
    let listed = tools.iter().take(MOST_TOOLS);
    listed.for_each(|tool| {
        row(page, &[&tool.name.as_deref().unwrap_or("(a tool that is gone)")], &[tool.uses, tool.failures]);
    });
    let others = tools.iter().skip(MOST_TOOLS).copied().chain([&facts.other_tools]);
    let (uses, failures) = others.fold((0, 0), |(uses, failures), tool| (uses + tool.uses, failures + tool.failures));
    if uses > 0 {
        row(page, &[&"all others"], &[uses, failures]);
    }
    page.push_str("</table>\n");
}

fn activities(page: &mut String, facts: &Facts) {
    if facts.activities.is_empty() {
        return;
    }
    heading(page, "What you did besides");
    start_table(page, &["Activity", "#Times"]);
    facts.activities.iter().for_each(|(action, count)| row(page, &[&action.replace('_', " ")], &[*count]));
    page.push_str("</table>\n");
}

fn suggestions(page: &mut String, facts: &Facts, person: &Subject) {
    if facts.suggestions.is_empty() {
        return;
    }
    heading(page, "Suggestions");
    start_table(page, &["Title", "Your part"]);
    for suggestion in &facts.suggestions {
        let title = suggestion.get_str("title").unwrap_or_default();
        row(page, &[&title, &parts(suggestion, person).join(", ")], &[]);
    }
    page.push_str("</table>\n");
}

/// The export leaves everybody else's id out: an id that is there is the person's.
fn parts(suggestion: &Document, person: &Subject) -> Vec<&'static str> {
    let has = |group: &str, field: &str| suggestion.get_document(group).is_ok_and(|group| group.contains_key(field));
    [
        (suggestion.get_object_id("userId").is_ok_and(|id| id == person.id), "you wrote it"),
        (has("votes", "voters"), "you voted"),
        (has("implementation", "assignedTo"), "it is assigned to you"),
        (has("adminResponse", "respondedBy"), "you answered"),
    ]
    .into_iter()
    .filter_map(|(is_so, part)| is_so.then_some(part))
    .collect()
}

// Writing to a String cannot fail.

fn heading(page: &mut String, text: &str) {
    let _ = writeln!(page, "<h2>{}</h2>", Escaped(text));
}

fn paragraph(page: &mut String, text: impl Display) {
    let _ = writeln!(page, "<p>{}</p>", Escaped(text));
}

/// A column whose title begins with `#` holds numbers.
fn start_table(page: &mut String, titles: &[&str]) {
    page.push_str("<table>\n<tr>");
    for title in titles {
        let _ = match title.strip_prefix('#') {
            Some(title) => write!(page, "<th scope=\"col\" class=\"number\">{}</th>", Escaped(title)),
            None => write!(page, "<th scope=\"col\">{}</th>", Escaped(title)),
        };
    }
    page.push_str("</tr>\n");
}

fn row(page: &mut String, texts: &[&dyn Display], numbers: &[u64]) {
    page.push_str("<tr>");
    for text in texts {
        let _ = write!(page, "<td>{}</td>", Escaped(text));
    }
    for number in numbers {
        let _ = write!(page, "<td class=\"number\">{number}</td>");
    }
    page.push_str("</tr>\n");
}

/// A text as HTML, in which nothing of it is markup.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for letter in self.0.to_string().chars() {
            match letter {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                '\'' => formatter.write_str("&#39;")?,
                letter => formatter.write_char(letter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        let escaped = Escaped("<script>\"a\" & 'b'</script>").to_string();
        assert_eq!(escaped, "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;");
    }
}
