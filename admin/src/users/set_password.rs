//! `admin users set-password`.

use std::io::Read;

use anyhow::Context;
use bson::{DateTime, Document, doc, oid::ObjectId};
use clap::Args;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use common::audit::{self, Act, Action};
use common::documents::session;
use common::documents::user::{
    self, Authentication, Metadata, Notifications, Plan, Preferences, Privacy, Profile, ProfileVisibility, Role,
    Source, Status, Subscription, SubscriptionStatus, Theme, Usage, User,
};
use common::keyring::Keyring;
use common::program::WrongUsage;
use common::secrets::hash_password;
use common::settings::Settings;
use common::{mongo, print_line};
use mongodb::Database;

const LONGEST_ADDRESS: usize = 254;
const LONGEST_PASSWORD: u64 = 4_096;

/// Set the password of an account; make the account where there is none
///
/// The password comes on stdin, so that it is neither in the process list nor in the shell's history; one line break at its end is
/// left out. An account that is there keeps everything else, is unlocked, and is signed out everywhere. A new account is verified, has
/// the plan free, and the role that --role names, or user.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  admin users set-password --email ada@example.com --password-stdin --role admin < password.txt
  openssl rand -base64 18 | tee /dev/tty | admin users set-password --email ada@example.com --password-stdin")]
pub struct Options {
    /// The account's address
    #[arg(long, value_name = "ADDRESS")]
    email: String,
    /// Read the password from stdin; the only way to give one
    #[arg(long)]
    password_stdin: bool,
    /// What the account may do; without it a new account is a user, and another keeps its role
    #[arg(long, value_name = "ROLE", value_parser = role_parser())]
    role: Option<Role>,
}

fn role_parser() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::NAMES.iter().copied())
        .map(|name| Role::ALL.iter().copied().find(|role| role.as_str() == name).unwrap_or(Role::User))
}

/// Runs the subcommand.
///
/// # Errors
/// The address or the password cannot be one, or MongoDB cannot be reached.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let email = read_address(&options.email)?;
    if !options.password_stdin {
        let expected = "--password-stdin is missing: the password comes on stdin, and in no other way";
        return Err(WrongUsage(expected.to_owned()).into());
    }
    let password = read_password()?;
    let hash = tokio::task::spawn_blocking(move || hash_password(&password)).await?;
    let hash = hash.map_err(|error| WrongUsage(format!("stdin: {error}")))?;
    let keyring = Keyring::if_set(settings)?;
    let database = mongo::connect(&settings.mongodb).await?;
    let users = database.collection::<Document>(user::COLLECTION);
    let known = users.find_one(doc! { "email": &email }).projection(doc! { "_id": 1 }).await?;
    let id = known.map_or_else(|| Ok(ObjectId::new()), |user| user.get_object_id("_id"))?;
    let act = Act::on_person(Action::UsersSetPassword, keyring.as_ref(), id);
    let act = match options.role {
        Some(role) => act.with_detail(format!("--role {role}")),
        None => act,
    };
    audit::around(&database, act, set(&database, id, &email, hash, options.role)).await
}

/// Of the account with this address; where there is none, an account with this id is made.
async fn set(database: &Database, id: ObjectId, email: &str, hash: String, role: Option<Role>) -> anyhow::Result<()> {
    let users = database.collection::<User>(user::COLLECTION);
    let now = DateTime::now();
    let mut set = doc! {
        "password": &hash,
        "authentication.lastPasswordChange": now,
        "authentication.failedLoginAttempts": 0_i64,
        "metadata.updatedAt": now,
    };
    if let Some(role) = role {
        set.insert("role", role.as_str());
    }
    let unset = doc! { "authentication.lockedUntil": "", "authentication.resetToken": "", "authentication.resetTokenExpiry": "" };
    let update = doc! { "$set": set, "$unset": unset };
    let known = users.clone_with_type::<Document>().find_one_and_update(doc! { "email": email }, update).await?;
    let Some(known) = known else {
        let role = role.unwrap_or(Role::User);
        users.insert_one(account(id, email, hash, role, now)).await.context("the account could not be made")?;
        print_line!("{email}: made, with the role {role}");
        return Ok(());
    };
    let ended = sign_out(database, known.get_object_id("_id")?).await?;
    print_line!("{email}: password set, unlocked, {ended} sessions ended");
    Ok(())
}

/// Whoever got in with the password of before must not stay.
async fn sign_out(database: &Database, user: ObjectId) -> anyhow::Result<u64> {
    let sessions = database.collection::<Document>(session::COLLECTION);
    let active = doc! { "userId": user, "isActive": true };
    Ok(sessions.update_many(active, doc! { "$set": { "isActive": false } }).await?.modified_count)
}

fn read_address(text: &str) -> Result<String, WrongUsage> {
    let address = text.trim().to_lowercase();
    let has_both_parts = address.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    let is_clean = !address.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    if has_both_parts && is_clean && address.len() <= LONGEST_ADDRESS {
        return Ok(address);
    }
    let shown: String = address.escape_debug().take(60).collect();
    Err(WrongUsage(format!("--email is \"{shown}\", expected an address such as ada@example.com")))
}

fn read_password() -> anyhow::Result<String> {
    let mut text = String::new();
    // One more than is allowed, so that a longer one is not cut without a word.
    std::io::stdin().lock().take(LONGEST_PASSWORD).read_to_string(&mut text).context("stdin is no text in UTF-8")?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn account(id: ObjectId, email: &str, password: String, role: Role, now: DateTime) -> User {
    let name = email.split('@').next().unwrap_or_default();
    User {
        id,
        email: email.to_owned(),
        password,
        profile: Profile {
            first_name: name.to_owned(),
            last_name: String::new(),
            avatar: None,
            bio: None,
            website: None,
            location: None,
        },
        preferences: Preferences {
            theme: Theme::System,
            language: "en".to_owned(),
            timezone: "UTC".to_owned(),
            notifications: Notifications { email: true, push: false, marketing: false },
            privacy: Privacy { profile_visibility: ProfileVisibility::Private, show_activity: false },
        },
        authentication: Authentication {
            is_verified: true,
            verification_token: None,
            verification_token_expiry: None,
            reset_token: None,
            reset_token_expiry: None,
            last_password_change: Some(now),
            failed_login_attempts: 0,
            locked_until: None,
        },
        role,
        subscription: Subscription {
            plan: Plan::Free,
            status: SubscriptionStatus::Active,
            start_date: now,
            end_date: None,
            features: Vec::new(),
        },
        usage: Usage {
            daily_count: 0,
            monthly_count: 0,
            total_count: 0,
            daily_limit: Plan::Free.limits().0,
            monthly_limit: Plan::Free.limits().1,
            last_reset_date: None,
            last_usage_date: None,
        },
        status: Status {
            is_active: true,
            is_suspended: false,
            suspension_reason: None,
            last_login: None,
            last_activity: None,
        },
        metadata: Metadata {
            created_at: now,
            updated_at: now,
            created_by: None,
            source: Source::Admin,
            ip_address: None,
            user_agent: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_name_and_a_host() {
        assert_eq!(read_address(" Ada@Example.com ").unwrap(), "ada@example.com");
        for text in ["", "ada", "@example.com", "ada@", "a da@example.com", "a\u{0}@example.com"] {
            assert!(read_address(text).unwrap_err().to_string().contains("ada@example.com"), "{text:?}");
        }
    }
}
