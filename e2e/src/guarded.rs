//! A replica set that asks for passwords, with the roles of config/mongodb/access.json.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests: what they expect is what the test expects")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use bson::{Document, doc};
use mongodb::{Client, Database};
use serde_json::Value;

use crate::servers::{Home, ReplicaSet, ReplicaSetOptions};
use crate::world::World;

const ROOT: &str = "root";
const PASSWORD: &str = "of-a-test";

/// The servers. Every user has the same password.
#[derive(Debug)]
pub struct Guarded {
    mongodb: ReplicaSet,
    _home: Home,
}

impl Guarded {
    /// Starts one member with a user `root` who may do everything.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        let home = Home::temporary("guarded").expect("a directory");
        let key_file = home.path().join("keyfile");
        std::fs::write(&key_file, "c2VjcmV0IG9mIHRoZSBtZW1iZXJz").expect("the key file written");
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).expect("the key file closed");
        let extra_args = vec!["--keyFile".to_owned(), key_file.display().to_string()];
        let options = ReplicaSetOptions { extra_args, ..ReplicaSetOptions::default() };
        let mongodb = ReplicaSet::start(options).await.expect("a replica set");
        let user = doc! { "createUser": ROOT, "pwd": PASSWORD, "roles": ["root"], "mechanisms": ["SCRAM-SHA-256"] };
        let client = Client::with_uri_str(mongodb.uri()).await.expect("a connection");
        client.database("admin").run_command(user).await.expect("the first user");
        Self { mongodb, _home: home }
    }

    /// A corner of it, whose programs sign in as root; Kafka is that of the environment.
    ///
    /// # Panics
    /// When the servers do not answer.
    pub async fn world(&mut self, name: &str) -> World {
        let brokers = std::env::var("DEVTOOLKIT__KAFKA__BROKERS").expect("DEVTOOLKIT__KAFKA__BROKERS");
        World::on(name, &self.uri(ROOT), &brokers).await
    }

    fn uri(&mut self, user: &str) -> String {
        let address = self.mongodb.member(0).address();
        format!("mongodb://{user}:{PASSWORD}@{address}/?replicaSet=rs0")
    }

    /// Creates the roles of access.json for the world's database, and a user for each, of the same name.
    ///
    /// # Panics
    /// When the server refuses one.
    pub async fn create_roles(&mut self, world: &World) -> Vec<String> {
        let mut created = Vec::new();
        for role in roles(world.db().name()) {
            self.create_role(world, role.clone()).await;
            created.push(role.get_str("role").expect("a name").to_owned());
        }
        created
    }

    /// Creates a role `{ role, privileges, roles }` of the world's database, and a user of the same name.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn create_role(&mut self, world: &World, role: Document) {
        let name = role.get_str("role").expect("a name").to_owned();
        let home = role.get_str("db").unwrap_or_else(|_| world.db().name()).to_owned();
        let client = world.db().client();
        let mut command = doc! { "createRole": &name };
        command.extend(role.into_iter().filter(|(field, _)| field == "privileges" || field == "roles"));
        client.database(&home).run_command(command).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let roles = vec![doc! { "role": &name, "db": home }];
        let user = doc! { "createUser": &name, "pwd": PASSWORD, "roles": roles, "mechanisms": ["SCRAM-SHA-256"] };
        client.database("admin").run_command(user).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// The same world, whose programs sign in as this user.
    #[must_use]
    pub fn sign_in(&mut self, world: World, user: &str) -> World {
        let uri = self.uri(user);
        world.with_env("MONGODB__URI", &uri)
    }

    /// The world's database as this user sees it.
    ///
    /// # Panics
    /// When the connection string is wrong.
    pub async fn database_as(&mut self, world: &World, user: &str) -> Database {
        let uri = self.uri(user);
        Client::with_uri_str(uri).await.expect("a connection string").database(world.db().name())
    }
}

/// The roles of access.json, with another database in place of `devtoolkit`.
///
/// # Panics
/// When the file is not as it should be.
pub fn roles(database: &str) -> Vec<Document> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config/mongodb/access.json");
    let text = std::fs::read_to_string(path).expect("access.json");
    let text = text.replace("\"devtoolkit\"", &format!("\"{database}\""));
    let access: Value = serde_json::from_str(&text).expect("access.json is JSON");
    let roles = access["roles"].as_array().expect("a list of roles");
    roles.iter().map(|role| bson::serialize_to_document(role).expect("a role")).collect()
}
