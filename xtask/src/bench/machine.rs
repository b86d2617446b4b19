//! What the figures were measured on.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use fleet_testkit::services::{Jars, ServiceProgram};
use serde_json::{Value, json};

const SYNCS: usize = 200;
/// What the kernel writes in one go.
const BLOCK: usize = 4096;

/// The machine, its disk at `folder` and the versions of the services.
pub(super) fn describe(folder: &Path) -> anyhow::Result<Value> {
    let (p50, p99) = fdatasync(folder)?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let said = |program: Option<std::path::PathBuf>, argument: &str| {
        let output = Command::new(program?).arg(argument).output().ok()?;
        let text = if output.stdout.is_empty() {
            output.stderr
        } else {
            output.stdout
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().next().map(str::to_owned)
    };
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(json!({
        "date": fleet_clock::wall_now().to_string(),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "processor": processor(),
        "memory_mib": memory_mib(),
        "kernel": kernel.trim(),
        "load_before": load.split(' ').next(),
        "fdatasync_p50_ms": p50,
        "fdatasync_p99_ms": p99,
        "commit": said(Some("git".into()), "--version").and(commit()),
        "postgresql": said(ServiceProgram::Postgres.find(), "--version"),
        // It has no option for that; its help says it.
        "mosquitto": said(ServiceProgram::Mosquitto.find(), "-h"),
        "java": said(ServiceProgram::Java.find(), "-version"),
        "kafka": Jars::Kafka.title(),
    }))
}

fn commit() -> Option<String> {
    let output = crate::workspace::command("git")
        .args(["describe", "--always", "--dirty"])
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Milliseconds for 4 KiB and an fdatasync at the end of a file: p50 and p99.
fn fdatasync(folder: &Path) -> anyhow::Result<(f64, f64)> {
    let path = folder.join("fdatasync");
    let mut file = std::fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let begin = Instant::now();
        file.write_all(&[7; BLOCK]).context("cannot write")?;
        file.sync_data().context("cannot sync")?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    std::fs::remove_file(&path).context("cannot remove a file")?;
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times.get(SYNCS * part / 100).copied().unwrap_or_default();
    Ok((at(50), at(99)))
}

fn line_of(file: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn processor() -> Option<String> {
    line_of("/proc/cpuinfo", "model name")
}

fn memory_mib() -> Option<u64> {
    let text = line_of("/proc/meminfo", "MemTotal")?;
    text.split(' ').next()?.parse::<u64>().ok().map(|kib| kib / 1024)
}

/// The machine in two lines.
pub(super) fn show(machine: &Value) {
    let text = |key: &str| machine[key].as_str().unwrap_or("?").to_owned();
    println!(
        "{} cores ({}), {} MiB, Linux {}, load {} before; fdatasync of 4 KiB {:.2} ms (p99 {:.2})",
        machine["cores"],
        text("processor"),
        machine["memory_mib"],
        text("kernel"),
        text("load_before"),
        super::number(&machine["fdatasync_p50_ms"]),
        super::number(&machine["fdatasync_p99_ms"]),
    );
    println!(
        "{}; {}; {}; {}; commit {}",
        text("postgresql"),
        text("mosquitto"),
        text("kafka"),
        text("java"),
        text("commit")
    );
}
