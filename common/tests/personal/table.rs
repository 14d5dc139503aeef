//! The table of docs/PRIVACY.md, made of the register.

use std::fmt::Write;

use common::personal::{Action, Class, Export, Kept, Kind, Place, REGISTER, Rule};

const START: &str = "<!-- register: made by ./dev docs -->\n";
const END: &str = "<!-- end of the register -->\n";

/// The document with the register between its markers.
pub fn replaced(document: &str) -> String {
    let (before, rest) = document.split_once(START).expect("docs/PRIVACY.md has the marker of the register");
    let (_, after) = rest.split_once(END).expect("docs/PRIVACY.md has the marker of the register's end");
    format!("{before}{START}{}\n{END}{after}", register())
}

fn register() -> String {
    let mut text = String::new();
    for (kind, title) in [
        (Kind::Collection, "Collections of the database"),
        (Kind::Event, "Events as they are sent"),
        (Kind::Topic, "Kafka's topics"),
        (Kind::Elsewhere, "Elsewhere"),
    ] {
        write!(text, "\n### {title}\n").unwrap();
        for place in REGISTER.iter().filter(|place| place.kind == kind) {
            text += &chapter(place);
        }
    }
    text
}

fn chapter(place: &Place) -> String {
    let (name, purpose, kept) = (place.name, place.purpose, kept(place.kept));
    let name =
        if matches!(place.kind, Kind::Elsewhere) || name.contains(' ') { name.to_owned() } else { format!("`{name}`") };
    let mut text = format!("\n#### {name}\n\nFor: {purpose}. Kept: {kept}.");
    if !place.people.is_empty() {
        write!(text, " A person is found by {}.", names(place.people)).unwrap();
    }
    text += "\n\n| fields | class | export | erase, `delete` | erase, `anonymise` | sealed day |\n|---|---|---|---|---|---|\n";
    place.rules.iter().for_each(|rule| text += &row(rule));
    text
}

fn row(rule: &Rule) -> String {
    let class = match rule.class {
        Class::None => "none",
        Class::Identifier => "identifier",
        Class::Personal => "personal",
        Class::Secret => "secret",
    };
    let export = match rule.export {
        Export::Written => "written".to_owned(),
        Export::WrittenWhere(links) => format!("written where the person is in {}", names(links)),
        Export::OwnId => "written where it is the person's".to_owned(),
        Export::LeftOut => "left out".to_owned(),
        Export::NotConcerned => "–".to_owned(),
    };
    let [delete, anonymise, seal] = [rule.delete, rule.anonymise, rule.seal].map(action);
    format!("| {} | {class} | {export} | {delete} | {anonymise} | {seal} |\n", names(rule.paths))
}

fn action(action: Action) -> &'static str {
    match action {
        Action::Keep => "stays",
        Action::RemoveDocument => "the document goes",
        Action::RemoveField => "goes",
        Action::TakeVote => "the vote is taken out",
        Action::NobodysId => "becomes nobody's id",
        Action::Pseudonym => "becomes a pseudonym of the day",
        Action::PseudonymOfErasure => "becomes a pseudonym of the erasure",
        Action::Blank => "says nothing any more",
        Action::AllowList => "cut to the allow list",
        Action::CutQuery => "cut before `?` and `#`",
        Action::Expire => "stays until it expires",
    }
}

fn kept(kept: Kept) -> String {
    match kept {
        Kept::For(duration, field) if duration.is_zero() => format!("until `{field}`"),
        Kept::For(duration, field) => format!("{} days after `{field}`", duration.as_secs() / 86_400),
        Kept::WithTheAccount => "as long as the account exists".to_owned(),
        Kept::Forever => "with no limit of time".to_owned(),
        Kept::Until(words) => words.to_owned(),
    }
}

fn names(paths: &[&str]) -> String {
    paths.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ")
}
