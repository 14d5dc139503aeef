//! What every `main` does the same: settings, one clear message on failure, the exit code.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::runtime::Builder;

use crate::settings::{Settings, SettingsError};
use crate::{mongo, telemetry, terminal};

/// Options that every program takes.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Settings file; without it config/analytics.toml where that exists. DEVTOOLKIT__SECTION__KEY in the environment wins
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Common {
    /// Reads the settings that the options name.
    ///
    /// # Errors
    /// See [`Settings::load`].
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        Settings::load(self.config.as_deref())
    }

    /// The same settings as TOML, each with where its value comes from, and without secrets.
    ///
    /// # Errors
    /// See [`Settings::load`].
    pub fn shown_settings(&self) -> Result<String, SettingsError> {
        Settings::shown(self.config.as_deref())
    }
}

/// Asked for something that cannot be meant; ends the program with exit code 2, as wrong options do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUsage(pub String);

/// Runs a program on all cores: exit code 0 on success, 2 for wrong settings or usage, else 1, with the reason on stderr.
pub fn run(program: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    run_on(Builder::new_multi_thread(), program)
}

/// Runs a program on the given runtime; else as [`run`].
pub fn run_on(mut runtime: Builder, program: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::error_line!("error: the async runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(program);
    // Blocking calls still under way (a driver's name look-up) must not hold up the exit.
    runtime.shutdown_background();
    telemetry::end_logging();
    let Err(error) = result.and_then(|()| terminal::output_error()) else { return ExitCode::SUCCESS };
    crate::error_line!("error: {}", mongo::in_words(&error));
    let wrong_usage = error.chain().any(|cause| cause.is::<SettingsError>() || cause.is::<WrongUsage>());
    if wrong_usage { ExitCode::from(2) } else { ExitCode::FAILURE }
}
