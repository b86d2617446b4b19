//! PostgreSQL's own client programs.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// An SQL identifier in quotes.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An SQL string in quotes.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A client program for a server, untouched by the settings of the caller's environment.
pub(super) fn client(program: &Path, address: SocketAddr, user: &str) -> Command {
    let mut client = Command::new(program);
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("PG") {
            client.env_remove(key);
        }
    }
    client
        .args(["-w", "-h", &address.ip().to_string()])
        .args(["-p", &address.port().to_string(), "-U", user])
        .env("PGCONNECT_TIMEOUT", "10")
        // Also while the server's default is read-only.
        .env(
            "PGOPTIONS",
            "-c default_transaction_read_only=off -c client_min_messages=warning",
        )
        .stdin(Stdio::null())
        .current_dir("/");
    client
}

/// Runs a client program; gives what it writes.
pub(super) async fn output(client: Command) -> anyhow::Result<String> {
    let name = client.get_program().display().to_string();
    let output = tokio::process::Command::from(client)
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!(
            "{name} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Runs a program with a text as its input.
pub(super) fn feed(command: &mut Command, text: &str) -> anyhow::Result<()> {
    let name = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let mut input = child.stdin.take().context("a pipe was asked for")?;
    input
        .write_all(text.as_bytes())
        .with_context(|| format!("{name} reads nothing"))?;
    drop(input);
    let output = child
        .wait_with_output()
        .with_context(|| format!("cannot wait for {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    // PostgreSQL's single-user mode ends with 0 whatever a statement said.
    if !output.status.success() || said.contains("ERROR") {
        bail!("{name} failed ({}): {}", output.status, said.trim_end());
    }
    Ok(())
}
