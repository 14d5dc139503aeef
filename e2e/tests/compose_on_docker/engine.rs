//! A Docker engine of the test's own. Its processes, networks and mounts are in namespaces of their own, so that
//! nothing on the machine is in its way, and all of it ends with the test, however the test ends. Its images stay in
//! `.dev/docker`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::eventually::eventually;
use e2e::servers::process::{command, log_tail};
use e2e::servers::{Home, Ownership, Process, repository};

pub struct Engine {
    process: Process,
    home: Home,
}

impl Engine {
    pub async fn start() -> Self {
        // Only the images outlive the engine: a socket or a pid of an earlier one would be taken for a living one.
        let home = Home::temporary("docker").unwrap();
        let data = Home::lasting(repository().join(".dev/docker")).unwrap();
        let mut unshare = command(Path::new("unshare"), Ownership::Owned);
        unshare.args(["--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]);
        unshare.args(["sh", "-c", "ip link set lo up && exec dockerd \"$@\"", "sh", "--log-level=warn"]);
        unshare.arg(format!("--data-root={}", data.path().display()));
        unshare.arg(format!("--exec-root={}", home.path().join("run").display()));
        unshare.arg(format!("--pidfile={}", home.path().join("pid").display()));
        unshare.arg(format!("--host={}", host(&home)));
        let log = home.path().join("dockerd.log");
        let process = Process::start("dockerd", unshare, &log, None, Ownership::Owned).unwrap();
        let mut engine = Self { process, home };
        eventually(Duration::from_secs(60), "engine", async || {
            assert!(engine.process.exited().unwrap().is_none(), "dockerd does not run here: {}", log_tail(&log));
            engine.command("docker").arg("info").output().unwrap().status.success().then_some(())
        })
        .await;
        engine
    }

    /// A program that talks to this engine.
    pub fn command(&self, program: &str) -> Command {
        let mut command = command(Path::new(program), Ownership::Owned);
        command.env("DOCKER_HOST", host(&self.home));
        // Before version 23, Docker builds with BuildKit only when asked to.
        command.env("DOCKER_BUILDKIT", "1");
        command
    }

    /// Runs `docker ARGUMENTS`, expects that it ends well, and returns what it printed.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = self.command("docker").args(arguments).output().unwrap();
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs a program of this machine where the engine's containers are processes, and returns what it printed.
    pub fn beside_containers(&self, words: &[&str]) -> String {
        let unshare = self.process.pid();
        let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--pid", "--mount", "--target", children.trim(), "--"]).args(words);
        let output = nsenter.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes the images that no registry gives here, and those that our programs are built on.
    pub fn make_images(&self, programs: &Path) {
        let script: PathBuf = repository().join("e2e/tests/compose_on_docker/images");
        let status = self.command("bash").arg(script).arg(programs).status().unwrap();
        assert!(status.success(), "the images cannot be made");
    }
}

fn host(home: &Home) -> String {
    format!("unix://{}", home.path().join("socket").display())
}
