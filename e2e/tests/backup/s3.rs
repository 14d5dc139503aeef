//! A real server that speaks S3's API: SeaweedFS.

use e2e::eventually::{PATIENCE, eventually};
use e2e::http;
use e2e::servers::process::command;
use e2e::servers::{Home, Ownership, Process, free_port, installed};

/// With one bucket, for one user.
pub struct Server {
    port: u16,
    _process: Process,
    _home: Home,
}

impl Server {
    pub async fn start() -> Self {
        let home = Home::temporary("seaweedfs").unwrap();
        let users = r#"{"identities":[{"name":"backup","credentials":[{"accessKey":"ACCESS","secretKey":"SECRET"}],
            "actions":["Admin","Read","Write","List"]}]}"#;
        let users_file = home.path().join("users.json");
        std::fs::write(&users_file, users).unwrap();
        let [master, volume, filer, port] = [(); 4].map(|()| free_port().unwrap());
        let mut weed = command(&installed("seaweedfs/weed").unwrap(), Ownership::Owned);
        weed.current_dir(home.path()).args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-volume.max=20"]);
        weed.args(["-master.volumeSizeLimitMB=64", &format!("-dir={}", home.path().display())]);
        for (name, port) in [("master", master), ("volume", volume), ("filer", filer), ("s3", port)] {
            // Its own choice of a second port would be 10,000 above, which may be taken or no port.
            let second = free_port().unwrap();
            weed.arg(format!("-{name}.port={port}")).arg(format!("-{name}.port.grpc={second}"));
        }
        weed.arg(format!("-s3.config={}", users_file.display()));
        let log = home.path().join("log");
        let process = Process::start("weed", weed, &log, None, Ownership::Owned).unwrap();
        let address = format!("127.0.0.1:{port}");
        eventually(PATIENCE, "an answer of the S3 server", async || {
            http::get(&address, "/").await.is_ok_and(|answer| answer.status == 403).then_some(())
        })
        .await;
        Self { port, _process: process, _home: home }
    }

    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("BACKUP__STORAGE", "s3://backups/a/prefix".to_owned()),
            ("BACKUP__ENDPOINT", format!("http://127.0.0.1:{}", self.port)),
            ("BACKUP__ACCESS_KEY", "ACCESS".to_owned()),
            ("BACKUP__SECRET_KEY", "SECRET".to_owned()),
        ]
    }
}
