//! `cargo xtask bench spool`: the ratio that the issue asks of the spool.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::workspace::{cargo, target_dir};

/// Runs the spool's own comparison of appends against a bare write and fdatasync.
pub(super) fn run() -> anyhow::Result<Value> {
    let folder = target_dir().join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let machine = super::machine::describe(&folder)?;
    super::machine::show(&machine);
    let output = cargo()
        .args([
            "run",
            "--release",
            "-p",
            "spool",
            "--example",
            "append_rate",
            "--",
        ])
        .arg(&folder)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{said}");
    ensure!(
        output.status.success(),
        "the comparison ended with {}",
        output.status
    );
    Ok(json!({ "bench": "spool", "machine": machine, "output": said }))
}
