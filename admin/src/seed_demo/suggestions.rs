//! `suggestions` of the demo: about one for every ten users.

use bson::DateTime;
use common::day::Day;
use common::demo;
use common::documents::suggestion::{
    AdminResponse, Attachment, AttachmentType, Category, Effort, Implementation, Metadata, Priority, Status,
    Suggestion, Type, Votes,
};

use super::chance::{Chance, start};
use super::people::{USER_AGENTS, signed_up};

const IDEAS: [(Type, Category, &str, &str); 14] = [
    (Type::Feature, Category::Tool, "Add dark mode to SQL generator", "It would be great to have a dark mode option."),
    (Type::Bug, Category::Tool, "Regex Tester ignores the sticky flag", "With y set the second match is still found."),
    (Type::Improvement, Category::Performance, "Large JSON freezes the page", "Files above 5 MB take half a minute."),
    (Type::Feedback, Category::General, "Love the cron parser", "Saved me an hour this week, thank you."),
    (Type::Feature, Category::Tool, "Keep a history of queries", "So that I find what I generated yesterday."),
    (Type::Improvement, Category::Ui, "Bigger buttons on phones", "Copy and clear are too close to each other."),
    (Type::Bug, Category::Ui, "Diff colours are hard to tell apart", "Red and green look the same to me."),
    (Type::Feature, Category::General, "A command line client", "The formatters would be handy in scripts."),
    (Type::Improvement, Category::Tool, "UUID version 7", "With the time in front it sorts better in indexes."),
    (Type::Bug, Category::Performance, "Slow start after a week idle", "The first request takes ten seconds."),
    (Type::Feature, Category::Ui, "Pin my favourite tools", "I always use the same five."),
    (Type::Feedback, Category::Ui, "The new search is much better", "Finds the tool before I finish typing."),
    (
        Type::Bug,
        Category::Tool,
        "JWT Debugger shows a wrong time zone",
        "The expiry is shown in UTC without saying so.",
    ),
    (Type::Improvement, Category::General, "Explain the limits", "It is not clear when the daily count starts again."),
];

pub(super) fn all(users: u32, as_of: Day) -> impl Iterator<Item = Suggestion> {
    let count = (users / 10).max(IDEAS.len() as u32);
    (0..count).map(move |number| suggestion(number, users, as_of))
}

fn suggestion(number: u32, users: u32, as_of: Day) -> Suggestion {
    let id = demo::id("suggestion", number);
    let mut chance = Chance::for_document(id);
    let (r#type, category, title, description) = IDEAS[number as usize % IDEAS.len()];
    let user = chance.between(0, i64::from(users) - 1) as u32;
    let created_at = chance.moment(signed_up(user, as_of), start(as_of));
    let updated_at = chance.moment(created_at, start(as_of));
    // In turn, so that also the smallest demo has one of each.
    let status = Status::ALL[number as usize % Status::ALL.len()];
    let is_answered = !matches!(status, Status::Pending | Status::Reviewing);
    Suggestion {
        id,
        user_id: demo::user_id(user),
        r#type,
        category,
        title: title.into(),
        description: description.into(),
        priority: Priority::ALL[number as usize % Priority::ALL.len()],
        status,
        votes: votes(&mut chance, users),
        implementation: implementation(&mut chance, status),
        admin_response: is_answered.then(|| admin_response(status, updated_at)),
        attachments: if number.is_multiple_of(5) { vec![attachment(number, &mut chance)] } else { vec![] },
        metadata: Metadata {
            created_at,
            updated_at,
            implemented_at: (status == Status::Implemented).then_some(updated_at),
            user_agent: Some(chance.pick(&USER_AGENTS).into()),
            ip_address: Some(chance.ip_address()),
        },
    }
}

/// Each voter has one vote, which is for or against.
fn votes(chance: &mut Chance, users: u32) -> Votes {
    let count = chance.between(0, i64::from(users.min(40)) - 1);
    let first = chance.between(0, i64::from(users) - 1) as u32;
    let voters = (0..count as u32).map(|step| demo::user_id((first + step) % users)).collect();
    let downvotes = count * chance.between(0, 20) / 100;
    Votes { upvotes: count - downvotes, downvotes, voters }
}

fn implementation(chance: &mut Chance, status: Status) -> Option<Implementation> {
    let is_planned = matches!(status, Status::Approved | Status::Implemented);
    is_planned.then(|| Implementation {
        estimated_effort: Some(chance.pick(Effort::ALL)),
        assigned_to: Some(demo::user_id(0)),
        target_version: Some(format!("2.{}.0", chance.between(1, 9))),
        implementation_notes: chance.percent(50.0).then(|| "Will be included in the next UI overhaul".into()),
    })
}

fn admin_response(status: Status, responded_at: DateTime) -> AdminResponse {
    let message = match status {
        Status::Rejected => "Thank you. We decided against it, since it would slow the tool down for everybody.",
        Status::Implemented => "Done, it is in the current release.",
        _ => "Great suggestion! We'll include this in the next release.",
    };
    AdminResponse { message: message.into(), responded_by: demo::user_id(0), responded_at }
}

fn attachment(number: u32, chance: &mut Chance) -> Attachment {
    let r#type = chance.pick(AttachmentType::ALL);
    let name = match r#type {
        AttachmentType::Image => "Mockup",
        AttachmentType::File => "Sample input",
        AttachmentType::Link => "How another site does it",
    };
    Attachment {
        r#type,
        url: format!("https://static.devtoolkit.example/attachments/{number}"),
        name: Some(name.into()),
    }
}
