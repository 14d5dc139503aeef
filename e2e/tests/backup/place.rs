//! A server with users of its own, a directory for backups, and an identity.
#![allow(dead_code, reason = "each of the tests that share this uses a part")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bson::{Document, doc};
use e2e::servers::{Home, ReplicaSet, ReplicaSetOptions, repository};
use e2e::world::{Running, World};
use mongodb::Client;
use serde_json::Value;

const PASSWORD: &str = "secret";

/// The programs make and restore backups as the users of config/mongodb/access.json, with no more rights.
pub struct Place {
    pub world: World,
    storage: PathBuf,
    identity: PathBuf,
    _servers: ReplicaSet,
    _home: Home,
}

impl Place {
    pub async fn new(name: &str) -> Self {
        Self::make(name, None).await
    }

    /// Another server and another topic, and the same backups.
    pub async fn with_storage_of(other: &Self, name: &str) -> Self {
        Self::make(name, Some(other)).await
    }

    async fn make(name: &str, other: Option<&Self>) -> Self {
        let home = Home::temporary("backup-keys").unwrap();
        let key_file = home.path().join("keyfile");
        fs::write(&key_file, "c2VjcmV0IG9mIHRoZSBtZW1iZXJz").unwrap();
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
        let extra_args = vec!["--keyFile".to_owned(), key_file.display().to_string()];
        let mut servers =
            ReplicaSet::start(ReplicaSetOptions { extra_args, ..ReplicaSetOptions::default() }).await.unwrap();
        let address = servers.member(0).address();
        let local = Client::with_uri_str(servers.uri()).await.unwrap();
        let root = doc! { "createUser": "root", "pwd": PASSWORD, "roles": ["root"] };
        local.database("admin").run_command(root).await.unwrap();

        let uri = format!("mongodb://root:{PASSWORD}@{address}/?replicaSet=rs0");
        let brokers = std::env::var("DEVTOOLKIT__KAFKA__BROKERS").expect("the servers of ./dev test");
        let world = World::on(name, &uri, &brokers).await;
        // A restore elsewhere is of the database that was backed up.
        let saved = other.map_or(world.db().name(), |other| other.world.db().name()).to_owned();
        give_access(world.db().client(), &saved).await;
        let (storage, identity) = match other {
            Some(other) => (other.storage.clone(), other.identity.clone()),
            None => (world.directory().join("backups"), world.directory().join("identity.txt")),
        };
        let recipient = recipient(&world, &identity).await;
        let world = world
            .with_env("BACKUP__STORAGE", &format!("file://{}", storage.display()))
            .with_env("BACKUP__RECIPIENT", &recipient)
            .with_env("BACKUP__IDENTITY_FILE", &identity.to_string_lossy());
        let world = if other.is_some() { world.with_env("MONGODB__DATABASE", &saved) } else { world };
        Self { world, storage, identity, _servers: servers, _home: home }
    }

    /// As the user who may read, and nothing else.
    pub async fn saves(&self, words: &[&str]) -> String {
        let (said, error) = self.run("backup", words).await;
        assert_eq!(error, None, "{words:?}");
        said
    }

    pub async fn saves_not(&self, words: &[&str]) -> String {
        self.run("backup", words).await.1.expect("a failure")
    }

    /// As the user who may restore.
    pub async fn restores(&self, words: &[&str]) -> String {
        let (said, error) = self.run("recovery", words).await;
        assert_eq!(error, None, "{words:?}");
        said
    }

    pub async fn restores_not(&self, words: &[&str]) -> String {
        self.run("recovery", words).await.1.expect("a failure")
    }

    pub fn spawn_restore(&self, words: &[&str]) -> Running {
        self.spawn("recovery", words, &[])
    }

    pub fn spawn(&self, user: &str, words: &[&str], settings: &[(&str, &str)]) -> Running {
        self.world.start("admin", self.command(user, words, settings))
    }

    /// With more settings.
    pub async fn run_with(&self, user: &str, words: &[&str], settings: &[(&str, &str)]) -> String {
        let finished = self.world.finish("admin", self.command(user, words, settings)).await;
        assert_eq!(finished.code, Some(0), "{words:?}: {}", finished.stderr);
        finished.stdout
    }

    /// What it printed, and why it failed.
    async fn run(&self, user: &str, words: &[&str]) -> (String, Option<String>) {
        let finished = self.world.finish("admin", self.command(user, words, &[])).await;
        (finished.stdout, (finished.code != Some(0)).then_some(finished.stderr))
    }

    /// Why it fails.
    pub async fn fails_with(&self, user: &str, words: &[&str], settings: &[(&str, &str)]) -> String {
        let finished = self.world.finish("admin", self.command(user, words, settings)).await;
        assert_ne!(finished.code, Some(0), "{words:?}: {}", finished.stdout);
        finished.stderr
    }

    fn command(&self, user: &str, words: &[&str], settings: &[(&str, &str)]) -> std::process::Command {
        let mut command = self.world.command("admin");
        command.envs(settings.iter().map(|(name, value)| (format!("DEVTOOLKIT__{name}"), value)));
        let address = self.world.mongo_uri().split_once('@').unwrap().1;
        command.env("DEVTOOLKIT__MONGODB__URI", format!("mongodb://{user}:{PASSWORD}@{address}"));
        command.args(words);
        command
    }

    /// The backups of a kind.
    pub fn directories(&self, kind: &str) -> Vec<PathBuf> {
        files(&self.directory_of(kind))
    }

    /// Where they are.
    pub fn directory_of(&self, kind: &str) -> PathBuf {
        self.storage.join(kind)
    }

    /// The objects of a backup.
    pub fn objects(&self, directory: &Path) -> Vec<PathBuf> {
        files(directory)
            .into_iter()
            .filter(|file| file.extension().is_some_and(|extension| extension == "age"))
            .collect()
    }

    pub fn manifest(&self, directory: &Path) -> PathBuf {
        files(directory).into_iter().find(|file| file.extension().is_some_and(|extension| extension == "json")).unwrap()
    }

    /// A path that nothing is at.
    pub fn directory(&self, name: &str) -> PathBuf {
        self.world.directory().join(name)
    }

    pub fn use_another_identity(&self) {
        fs::rename(&self.identity, self.directory("right")).unwrap();
        let identity = backup::age::Identity::generate().unwrap();
        fs::write(&self.identity, identity.file_text().unwrap().as_bytes()).unwrap();
    }

    pub fn use_the_identity(&self) {
        fs::rename(self.directory("right"), &self.identity).unwrap();
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

async fn recipient(world: &World, identity: &Path) -> String {
    if identity.exists() {
        let text = fs::read_to_string(identity).unwrap();
        return backup::age::Identity::from_file_text(&text).unwrap().recipient().to_string();
    }
    let words = ["backup", "create-identity", "--json", "--out", &identity.to_string_lossy()];
    let made: Value = serde_json::from_str(&world.run_ok("admin", &words).await).unwrap();
    made["recipient"].as_str().unwrap().to_owned()
}

/// The roles of access.json, for this database, and the users who have them.
async fn give_access(root: &Client, database: &str) {
    let access = fs::read_to_string(repository().join("config/mongodb/access.json")).unwrap();
    let access = access.replace("\"devtoolkit\"", &format!("{database:?}"));
    let access = access.replace("\"devtoolkit_rehearsal\"", &format!("\"{database}_rehearsal\""));
    let access: Value = serde_json::from_str(&access).unwrap();
    for role in access["roles"].as_array().unwrap() {
        let mut command = doc! { "createRole": role["role"].as_str().unwrap() };
        for grants in ["privileges", "roles"] {
            command.insert(grants, bson::Bson::try_from(role[grants].clone()).unwrap());
        }
        root.database(role["db"].as_str().unwrap()).run_command(command).await.unwrap();
    }
    for user in access["users"].as_array().unwrap() {
        let roles = bson::Bson::try_from(user["roles"].clone()).unwrap();
        let command: Document = doc! { "createUser": user["user"].as_str().unwrap(), "pwd": PASSWORD, "roles": roles };
        root.database("admin").run_command(command).await.unwrap();
    }
}
