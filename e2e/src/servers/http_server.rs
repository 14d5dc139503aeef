//! A server that says over HTTP whether it is ready: Prometheus, Alertmanager and the exporters.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::home::Home;
use super::ports::{ensure_free, lasting_ports};
use super::process::{self, Ownership, Process};
use super::readiness;
use crate::http;

const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// What is started.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(&'static str, String)>,
    /// Answers 200 when the server is ready.
    pub(super) ready_path: &'static str,
}

/// A server: the same port, data and log from start to start.
#[derive(Debug)]
pub struct HttpServer {
    program: Program,
    port: u16,
    ownership: Ownership,
    process: Option<Process>,
    home: Home,
}

impl HttpServer {
    /// Starts what `program` makes of the server's directory and its port.
    pub(super) async fn start(
        home: Home,
        ownership: Ownership,
        program: impl FnOnce(&Path, u16) -> anyhow::Result<Program>,
    ) -> anyhow::Result<Self> {
        let [port] = lasting_ports(home.path())?;
        let program = program(home.path(), port)?;
        let mut server = Self { program, port, ownership, process: None, home };
        match server.restart().await {
            Ok(()) => Ok(server),
            Err(error) => {
                server.home.keep();
                Err(error)
            }
        }
    }

    /// Starts it again after [`HttpServer::kill`] or [`HttpServer::stop`], and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start; the message has the end of its log.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let name = self.program.name;
        ensure!(self.process.is_none(), "the {name} on port {} runs already", self.port);
        ensure_free(self.port, self.home.path())?;
        let mut command: Command = process::command(&self.program.path, self.ownership);
        command.args(&self.program.arguments).current_dir(self.home.path());
        command.envs(self.program.environment.iter().map(|(key, value)| (key, value)));
        let process = Process::start(name, command, &self.log(), None, self.ownership)?;
        if self.ownership == Ownership::Detached {
            process::record(&process, self.home.path())?;
        }
        let process = self.process.insert(process);
        readiness::listening(process, name, self.port).await?;
        readiness::answering(name, &self.log(), async || {
            let answer = http::get(&self.address(), self.program.ready_path).await?;
            Ok((answer.status == 200).then_some(()))
        })
        .await
    }

    /// Ends it at once (SIGKILL).
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process()?.kill()?;
        self.process = None;
        Ok(())
    }

    /// Shuts it down in order (SIGTERM).
    ///
    /// # Errors
    /// When it does not run, or does not end within half a minute.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.process()?.stop(STOP_DEADLINE).await?;
        self.process = None;
        Ok(())
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where a browser finds it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    /// The last part of the path of its directory.
    pub fn directory_name(&self) -> String {
        self.home.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Its directory.
    pub fn home(&mut self) -> &mut Home {
        &mut self.home
    }

    fn process(&mut self) -> anyhow::Result<&mut Process> {
        self.process.as_mut().with_context(|| format!("the {} on port {} does not run", self.program.name, self.port))
    }
}
