//! A real program as a child: started so that it is never left behind, signalled, waited for with a deadline.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Whether a program may outlive this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It is killed with its [`Process`], and also when this process ends in any other way, even by SIGKILL.
    Owned,
    /// It goes on; [`stop_recorded`] finds it by the file `pid` in its directory.
    Detached,
}

/// A command for `program` that honours `ownership`; arguments and environment may be added.
///
/// The kernel's "kill me when my parent ends" and the new session are set by util-linux's `setpriv` and `setsid`, which
/// then become the program itself: the pid stays the same, and no `unsafe` is needed here.
pub fn command(program: &Path, ownership: Ownership) -> Command {
    let mut command = match ownership {
        Ownership::Owned => {
            let mut command = Command::new("setpriv");
            // A Ctrl-C at the terminal is for the test, which then stops its servers: not for the servers themselves.
            command.args(["--pdeathsig", "KILL", "--"]).process_group(0);
            command
        }
        Ownership::Detached => Command::new("setsid"),
    };
    command.arg(program).stdin(Stdio::null());
    command
}

/// A running program and the file with what it says.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ownership: Ownership,
}

impl Process {
    /// Starts `command` (made by [`command`]); its stderr is appended to `log`, and its stdout too unless `stdout` is given.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(
        name: &str,
        mut command: Command,
        log: &Path,
        stdout: Option<&Path>,
        ownership: Ownership,
    ) -> anyhow::Result<Self> {
        let log_file = append_to(log)?;
        let stdout = match stdout {
            Some(path) => append_to(path)?,
            None => log_file.try_clone()?,
        };
        command.stdout(stdout).stderr(log_file);
        let launcher = command.get_program().to_string_lossy().into_owned();
        let child = spawn_from_lasting_thread(command)
            .with_context(|| format!("cannot start {name}: {launcher} (of util-linux) does not run"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_path_buf(), ownership })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file with its stderr.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Sends `signal`.
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        // Once reaped, the kernel may give its pid to somebody else.
        if let Some(status) = self.exited()? {
            bail!("{} cannot be sent {signal}: it ended with {status}\n{}", self.name, log_tail(&self.log));
        }
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Stops it where it stands (SIGSTOP), until [`Process::resume`].
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn exited(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot ask after {}", self.name))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it still runs after `deadline`.
    pub async fn wait(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if start.elapsed() > deadline {
                bail!("{} still runs after {deadline:?}\n{}", self.name, log_tail(&self.log));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills it (SIGKILL) and waits until it is gone. Fine when it is gone already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(())
    }

    /// Asks it to end (SIGTERM), and waits for that.
    ///
    /// # Errors
    /// When it still runs after `deadline`.
    pub async fn stop(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        if self.exited()?.is_none() {
            self.signal(Signal::SIGTERM)?;
            self.signal_if_running(Signal::SIGCONT);
        }
        self.wait(deadline).await
    }

    fn signal_if_running(&mut self, signal: Signal) {
        let _ = self.signal(signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ownership == Ownership::Owned {
            let _ = self.kill();
        }
    }
}

/// The last lines of a log, and its name, for an error message.
pub fn log_tail(log: &Path) -> String {
    const LINES: usize = 15;
    const LINE_LENGTH: usize = 400;
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(LINES)..]
        .iter()
        .map(|line| format!("\n  {}", line.chars().take(LINE_LENGTH).collect::<String>()));
    format!("its log is {}, the last lines:{}", log.display(), last.collect::<String>())
}

/// Notes the process as the one that lives in `home`, for [`stop_recorded`] in another process.
///
/// # Errors
/// When the file cannot be written.
pub fn record(process: &Process, home: &Path) -> anyhow::Result<()> {
    let file = home.join("pid");
    std::fs::write(&file, process.pid().to_string()).with_context(|| format!("cannot write {}", file.display()))
}

/// The pid of the process recorded in `home`, if it still runs.
///
/// A pid alone proves nothing, as the kernel gives it out again: the command line must name the directory too.
pub fn recorded(home: &Path) -> Option<Pid> {
    let pid: i32 = std::fs::read_to_string(home.join("pid")).ok()?.trim().parse().ok()?;
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let names_home = String::from_utf8_lossy(&command_line).contains(&format!("{}/", home.display()));
    names_home.then(|| Pid::from_raw(pid))
}

/// Stops the process recorded in `home`: asks it, and kills it when it has not ended after `deadline`.
///
/// Returns whether there was one.
///
/// # Errors
/// When it cannot be signalled, or does not even end when killed.
pub async fn stop_recorded(home: &Path, deadline: Duration) -> anyhow::Result<bool> {
    let Some(pid) = recorded(home) else { return Ok(false) };
    let Some(start) = start_of(pid) else { return Ok(false) };
    kill(pid, Signal::SIGTERM).with_context(|| format!("cannot stop process {pid}"))?;
    let _ = kill(pid, Signal::SIGCONT);
    if !gone(pid, &start, deadline).await {
        kill(pid, Signal::SIGKILL).with_context(|| format!("cannot kill process {pid}"))?;
        if !gone(pid, &start, Duration::from_secs(10)).await {
            bail!("process {pid} of {} does not end, not even by SIGKILL", home.display());
        }
    }
    let _ = std::fs::remove_file(home.join("pid"));
    Ok(true)
}

/// When a process was started; none when it has ended. One that ends loses its command line first and its files, and so its
/// ports, up to a second later: only a zombie without threads has none any more.
fn start_of(pid: Pid) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let (state, start) = (fields.next()?, fields.nth(18)?);
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.count();
    (!matches!(state, "Z" | "X") || threads > 1).then(|| start.to_owned())
}

async fn gone(pid: Pid, start: &str, deadline: Duration) -> bool {
    let begin = Instant::now();
    // The kernel gives a pid out again, to a process that starts later.
    while start_of(pid).is_some_and(|now| now == start) {
        if begin.elapsed() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

/// How a program ended, in words.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

fn append_to(path: &Path) -> anyhow::Result<File> {
    File::options().create(true).append(true).open(path).with_context(|| format!("cannot write {}", path.display()))
}

/// Starts `command` from a thread that lives as long as this process.
///
/// "My parent ended" means to the kernel that the *thread* ended that started the child: started from a runtime's
/// worker, a server would be killed when that worker goes idle.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Request = (Command, mpsc::Sender<io::Result<Child>>);
    static REQUESTS: LazyLock<mpsc::Sender<Request>> = LazyLock::new(|| {
        let (requests, received) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, reply) in received {
                let _ = reply.send(command.spawn());
            }
        });
        requests
    });
    let (reply, answer) = mpsc::channel();
    REQUESTS.send((command, reply)).map_err(io::Error::other)?;
    answer.recv().map_err(io::Error::other)?
}
