//! How the broker is ended and started, for the checks over a restart.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::Command;

/// How long a command may take.
const COMMAND_WITHIN: Duration = Duration::from_mins(2);

/// How the broker ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// In order: it may write what it holds.
    Orderly,
    /// With SIGKILL.
    Killed,
}

/// Why the broker was not restarted.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The command could not be started.
    #[error("the command {command:?} can't be run")]
    Start {
        /// The command.
        command: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The command failed.
    #[error("the command {command:?} ended with {status}; what it said stands above")]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The command did not end.
    #[error("the command {command:?} did not end within {} s: let it return once the broker starts", COMMAND_WITHIN.as_secs())]
    Timeout {
        /// The command.
        command: String,
    },
    /// Some other way failed.
    #[error("{0}")]
    Other(String),
}

/// Ends the broker and starts it again on the same address and data.
#[async_trait]
pub trait BrokerControl: Send + Sync {
    /// Whether it can do so in this way.
    fn can(&self, ending: Ending) -> bool;

    /// Does it. The broker need not take connections yet when this returns.
    ///
    /// # Errors
    /// When it could not be ended or started.
    async fn restart(&self, ending: Ending) -> Result<(), ControlError>;
}

/// Nobody may touch the broker.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoControl;

#[async_trait]
impl BrokerControl for NoControl {
    fn can(&self, _: Ending) -> bool {
        false
    }

    async fn restart(&self, _: Ending) -> Result<(), ControlError> {
        Err(ControlError::Other("no command was given".to_owned()))
    }
}

/// Shell commands that a person gave.
#[derive(Debug, Clone, Default)]
pub struct CommandControl {
    /// Restarts the broker in order.
    pub restart: Option<String>,
    /// Kills the broker with SIGKILL and starts it again.
    pub kill: Option<String>,
}

impl CommandControl {
    fn command(&self, ending: Ending) -> Option<&String> {
        match ending {
            Ending::Orderly => self.restart.as_ref(),
            Ending::Killed => self.kill.as_ref(),
        }
    }
}

#[async_trait]
impl BrokerControl for CommandControl {
    fn can(&self, ending: Ending) -> bool {
        self.command(ending).is_some()
    }

    async fn restart(&self, ending: Ending) -> Result<(), ControlError> {
        let Some(command) = self.command(ending) else {
            return NoControl.restart(ending).await;
        };
        let start = |source| ControlError::Start {
            command: command.clone(),
            source,
        };
        // Its messages go to the terminal: a pipe would be held open by a broker that it leaves in the background.
        let mut running = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(start)?;
        match tokio::time::timeout(COMMAND_WITHIN, running.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(ControlError::Failed {
                command: command.clone(),
                status,
            }),
            Ok(Err(source)) => Err(start(source)),
            Err(_) => Err(ControlError::Timeout {
                command: command.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(restart: &str) -> CommandControl {
        CommandControl {
            restart: Some(restart.to_owned()),
            kill: None,
        }
    }

    #[tokio::test]
    async fn a_command_that_fails_is_named_with_its_status() {
        let error = commands("exit 3")
            .restart(Ending::Orderly)
            .await
            .expect_err("it fails");
        let text = error.to_string();
        assert!(
            text.contains("\"exit 3\"") && text.contains("status: 3"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_broker_that_the_command_leaves_behind_does_not_hold_it_up() {
        let control = commands("sleep 12 >/dev/null 2>&1 &");
        let restarted = control.restart(Ending::Orderly);
        let in_time = tokio::time::timeout(Duration::from_secs(10), restarted).await;
        in_time.expect("it returns").expect("it works");
    }

    #[tokio::test]
    async fn without_a_command_it_can_not() {
        let control = commands("true");
        assert!(control.can(Ending::Orderly) && !control.can(Ending::Killed));
        assert!(control.restart(Ending::Killed).await.is_err());
    }
}
