//! The demo DevToolkit: who its users and tools are, so that `admin seed-demo` and `emit generate` speak of the same ones.
//!
//! Everything follows from a number: user 7 is the same user in every run and on every machine.

use std::borrow::Cow;
use std::ops::Range;

use bson::oid::ObjectId;
use xxhash_rust::xxh3::xxh3_64;

/// How many users the demo has unless told otherwise.
pub const DEFAULT_USERS: u32 = 1_000;
/// How many tools the demo has unless told otherwise: the catalogue.
pub const DEFAULT_TOOLS: u32 = TOOLS.len() as u32;

/// The id of the demo user `number`, counted from 0.
pub fn user_id(number: u32) -> ObjectId {
    id("user", number)
}

/// The id of the demo tool `number`, counted from 0.
pub fn tool_id(number: u32) -> ObjectId {
    id("tool", number)
}

/// An ObjectId opens with the second it was made in: all of the demo's were made in the same one, in January 2021.
const MADE_AT: u32 = 0x6000_0000;

/// Every id of the demo lies in here, and next to no other.
pub fn ids() -> Range<ObjectId> {
    let first_of = |second: u32| {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&second.to_be_bytes());
        ObjectId::from_bytes(bytes)
    };
    first_of(MADE_AT)..first_of(MADE_AT + 1)
}

/// The id of the demo document `number` of a `kind`, such as `suggestion`: another kind has other ids.
pub fn id(kind: &str, number: u32) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&MADE_AT.to_be_bytes());
    bytes[4..].copy_from_slice(&xxh3_64(format!("{kind}-{number}").as_bytes()).to_be_bytes());
    ObjectId::from_bytes(bytes)
}

/// A shelf that demo tools stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoCategory {
    /// The `category` of its tools.
    pub slug: &'static str,
    /// For people.
    pub name: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// Name of an icon.
    pub icon: &'static str,
}

const fn category(
    slug: &'static str,
    name: &'static str,
    description: &'static str,
    icon: &'static str,
) -> DemoCategory {
    DemoCategory { slug, name, description, icon }
}

/// All categories of the demo, in the order they are shown.
pub const CATEGORIES: &[DemoCategory] = &[
    category("formatters", "Formatters", "Make code and data readable.", "align-left"),
    category("encoders", "Encoders", "From one notation to another and back.", "binary"),
    category("generators", "Generators", "Make what is tedious to write by hand.", "sparkles"),
    category("converters", "Converters", "Between formats and units.", "arrow-left-right"),
    category("text", "Text", "Compare, count and change text.", "type"),
    category("security", "Security", "Hashes, tokens, keys and certificates.", "shield"),
    category("web", "Web", "Addresses, headers, colours and markup.", "globe"),
    category("database", "Database", "Queries, schemas and connections.", "database"),
    category("devops", "DevOps", "Schedules, containers and configuration.", "server"),
    category("testing", "Testing", "Try out and check before it matters.", "flask"),
    category(AI_POWERED, "AI powered", "Answers from a language model.", "bot"),
];

const AI_POWERED: &str = "ai-powered";

/// A tool of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogueTool {
    /// For people.
    pub name: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// The slug of one of [`CATEGORIES`].
    pub category: &'static str,
    /// Finer than the category.
    pub subcategory: &'static str,
}

/// A tool of the demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoTool {
    /// [`tool_id`] of its number.
    pub id: ObjectId,
    /// For people; unique.
    pub name: Cow<'static, str>,
    /// For addresses; unique.
    pub slug: String,
    /// One sentence.
    pub description: &'static str,
    /// The slug of one of [`CATEGORIES`].
    pub category: &'static str,
    /// Finer than the category.
    pub subcategory: &'static str,
    /// Asks a language model: slower, and fails more often.
    pub ai_powered: bool,
}

/// The demo tool `number`, counted from 0; the popular ones come first. Beyond the catalogue the names are numbered:
/// `JSON Formatter 2`.
pub fn tool(number: u32) -> DemoTool {
    let place = number as usize % TOOLS.len();
    let edition = number as usize / TOOLS.len() + 1;
    let CatalogueTool { name, description, category, subcategory } = TOOLS[place];
    let name = if edition == 1 { Cow::Borrowed(name) } else { Cow::Owned(format!("{name} {edition}")) };
    DemoTool {
        id: tool_id(number),
        slug: slug(&name),
        name,
        description,
        category,
        subcategory,
        ai_powered: category == AI_POWERED,
    }
}

/// Lower case letters and digits, everything else one hyphen.
fn slug(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

const fn entry(
    name: &'static str,
    category: &'static str,
    subcategory: &'static str,
    description: &'static str,
) -> CatalogueTool {
    CatalogueTool { name, description, category, subcategory }
}

/// The catalogue, the popular tools first.
pub const TOOLS: &[CatalogueTool] = &[
    entry("JSON Formatter", "formatters", "json", "Indent, sort and check JSON."),
    entry("Base64 Encoder", "encoders", "base64", "Encode and decode Base64, also the URL-safe kind."),
    entry("Regex Tester", "testing", "regex", "Try a regular expression on sample text."),
    entry("AI SQL Query Generator", "ai-powered", "database", "Generate SQL queries from natural language."),
    entry("JWT Debugger", "security", "tokens", "Take a JSON Web Token apart and check its signature."),
    entry("UUID Generator", "generators", "identifiers", "Make UUIDs of version 4 and 7, one or thousands."),
    entry("Cron Parser", "devops", "schedules", "Say in words when a cron expression fires."),
    entry("Unix Timestamp Converter", "converters", "time", "From seconds since 1970 to a date and back."),
    entry("URL Encoder", "encoders", "url", "Percent-encode and decode addresses."),
    entry("Text Diff", "text", "compare", "Show what differs between two texts."),
    entry("SQL Formatter", "formatters", "sql", "Lay out SQL of many dialects."),
    entry("AI Code Explainer", "ai-powered", "code", "Explain a piece of code in plain words."),
    entry("Hash Generator", "security", "hashes", "MD5, SHA-1, SHA-2 and SHA-3 of text and files."),
    entry("Password Generator", "generators", "secrets", "Make passwords that are hard to guess."),
    entry("JSON to YAML", "converters", "data", "Turn JSON into YAML and back."),
    entry("Markdown Preview", "web", "markup", "See Markdown as it will look."),
    entry("Color Picker", "web", "colours", "Pick a colour and copy it in any notation."),
    entry("XML Formatter", "formatters", "xml", "Indent and check XML."),
    entry("AI Regex Writer", "ai-powered", "regex", "Write a regular expression from a description."),
    entry("HTML Formatter", "formatters", "html", "Indent HTML without changing what it shows."),
    entry("CSV to JSON", "converters", "data", "Turn tables into JSON and back."),
    entry("Lorem Ipsum Generator", "generators", "text", "Fill a page before its text exists."),
    entry("QR Code Generator", "generators", "images", "Put text or an address into a QR code."),
    entry("Case Converter", "text", "change", "camelCase, snake_case, kebab-case and Title Case."),
    entry("AI Unit Test Writer", "ai-powered", "testing", "Propose unit tests for a function."),
    entry("CSS Minifier", "web", "minify", "Make style sheets smaller."),
    entry("JavaScript Minifier", "web", "minify", "Make scripts smaller."),
    entry("HTML Entity Encoder", "encoders", "html", "Escape and unescape HTML entities."),
    entry("JSON Schema Validator", "testing", "json", "Check JSON against a schema."),
    entry("HTTP Status Lookup", "web", "http", "What a status code means and when to send it."),
    entry("Word Counter", "text", "count", "Count words, letters and lines."),
    entry("Bcrypt Generator", "security", "hashes", "Hash a password and check one."),
    entry("Number Base Converter", "converters", "numbers", "Between binary, octal, decimal and hexadecimal."),
    entry("AI Commit Message Writer", "ai-powered", "git", "Write a commit message from a diff."),
    entry("YAML Validator", "testing", "yaml", "Find the line that breaks a YAML file."),
    entry("Mock Data Generator", "generators", "data", "Make believable rows for tests."),
    entry("URL Parser", "web", "url", "Take an address apart."),
    entry("Docker Compose Validator", "devops", "containers", "Check a compose file before it is started."),
    entry("CIDR Calculator", "devops", "network", "Addresses, masks and sizes of a network."),
    entry("Slug Generator", "generators", "text", "Turn a title into an address."),
    entry("Line Sorter", "text", "change", "Sort lines, remove doubled ones."),
    entry("JSONPath Tester", "testing", "json", "Try a JSONPath on a document."),
    entry("Certificate Decoder", "security", "certificates", "Read what is in an X.509 certificate."),
    entry("AI Documentation Writer", "ai-powered", "code", "Write doc comments for a piece of code."),
    entry("User Agent Parser", "web", "http", "Read browser and system from a user agent."),
    entry("Byte Size Converter", "converters", "units", "Between bytes, kB, KiB and the rest."),
    entry("GraphQL Formatter", "formatters", "graphql", "Lay out GraphQL queries and schemas."),
    entry("MongoDB Query Builder", "database", "mongodb", "Click together a filter and copy it."),
    entry("Connection String Builder", "database", "connections", "Build and check connection strings."),
    entry("SQL to MongoDB Converter", "database", "mongodb", "Turn a SELECT into an aggregation pipeline."),
    entry("ER Diagram Viewer", "database", "schemas", "Draw the tables of a SQL dump."),
    entry("HMAC Generator", "security", "hashes", "Sign a message with a shared key."),
    entry("RSA Key Generator", "security", "keys", "Make a pair of keys in the browser."),
    entry("Nginx Config Formatter", "devops", "configuration", "Indent an nginx configuration."),
    entry("Dotenv Converter", "devops", "configuration", "Turn .env files into JSON, YAML and shell."),
    entry("Chmod Calculator", "devops", "files", "From rwx to octal and back."),
    entry("Hex Encoder", "encoders", "hex", "Bytes as hexadecimal text and back."),
    entry("Punycode Converter", "encoders", "url", "International domain names and back."),
    entry("HTTP Header Analyzer", "web", "http", "Say which security headers are missing."),
    entry("API Request Tester", "testing", "http", "Send a request and read the answer."),
    entry("AI Error Explainer", "ai-powered", "code", "Say what an error message means and what to try."),
    entry("TOML Formatter", "formatters", "toml", "Lay out and check TOML."),
    entry("SVG Optimizer", "web", "images", "Make SVG pictures smaller."),
    entry("AI Data Modeler", "ai-powered", "database", "Propose a schema from a description."),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_fixed_and_differ() {
        // Changing these orphans every event that a demo database already has.
        assert_eq!(user_id(0).to_hex(), "60000000f92bcd191370a1e0");
        let ids: HashSet<_> = (0..10_000).flat_map(|number| [user_id(number), tool_id(number)]).collect();
        assert_eq!(ids.len(), 20_000);
    }

    #[test]
    fn names_and_slugs_are_unique_beyond_the_catalogue() {
        let tools: Vec<_> = (0..300).map(tool).collect();
        assert_eq!(tools.iter().map(|tool| &tool.slug).collect::<HashSet<_>>().len(), 300);
        assert_eq!(tools.iter().map(|tool| &tool.name).collect::<HashSet<_>>().len(), 300);
        assert_eq!(tools[3].slug, "ai-sql-query-generator");
        assert_eq!(tool(TOOLS.len() as u32).name, "JSON Formatter 2");
    }

    #[test]
    fn every_category_exists_and_holds_tools() {
        let known: HashSet<_> = CATEGORIES.iter().map(|category| category.slug).collect();
        let used: HashSet<_> = TOOLS.iter().map(|tool| tool.category).collect();
        assert_eq!(known, used);
    }
}
