//! The consumers of `examples/` print what the relay wrote.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use fleet_testkit::services::{KafkaOptions, KafkaRecord, services_folder};

use crate::plant::{DATA, Plant, config, kafka};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// The client library of the Python example, installed once for each list of requirements.
fn python_packages() -> anyhow::Result<PathBuf> {
    let list = examples().join("python/requirements.txt");
    let pinned = std::fs::read_to_string(&list)?;
    let folder = services_folder()?.join(format!("python-{}", pinned.trim().replace("==", "-")));
    if !folder.exists() {
        let new = folder.with_extension("new");
        let status = Command::new("python3")
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-warn-script-location",
                "--target",
            ])
            .arg(&new)
            .arg("-r")
            .arg(&list)
            .status()
            .context("python3 with pip is needed: cargo xtask doctor --install")?;
        ensure!(status.success(), "pip could not install {}", pinned.trim());
        std::fs::rename(&new, &folder)?;
    }
    Ok(folder)
}

/// The Rust example: built with this test.
fn rust_consumer() -> anyhow::Result<PathBuf> {
    let tests = std::env::current_exe()?;
    let build = tests
        .parent()
        .and_then(Path::parent)
        .context("tests lie in deps")?;
    let program = build.join("examples/consumer");
    ensure!(
        program.exists(),
        "{} is missing: cargo build -p fleet-relay --example consumer",
        program.display()
    );
    Ok(program)
}

fn lines(mut command: Command, bootstrap: &str) -> anyhow::Result<Vec<String>> {
    let output = command
        .args(["--bootstrap", bootstrap, "--from-beginning", "--until-idle"])
        .output()?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let mut lines: Vec<_> = String::from_utf8(output.stdout)?
        .lines()
        .map(str::to_owned)
        .collect();
    // Stable: what is of one partition keeps its order.
    lines.sort_by_key(|line| line.split('\t').take(2).map(str::to_owned).collect::<Vec<_>>());
    Ok(lines)
}

fn line(record: &KafkaRecord) -> String {
    let of = |name: &str| record.header(name).unwrap_or("-");
    format!(
        "{}\t{}\t{}\t{}\t{}\t{}\t{}",
        record.topic,
        record.partition,
        record.key.as_deref().unwrap_or_default(),
        of("device"),
        of("spool"),
        of("seq"),
        of("type")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_print_every_event_once_in_the_order_of_its_partition() -> anyhow::Result<()> {
    let mut plant = Plant::new("hannover").await?;
    let kafka = kafka(plant.folder.path(), KafkaOptions::default()).await?;
    plant.write(120).await;
    let relay = plant.relay(&config(&kafka))?;
    plant.drained(&relay).await?;
    relay.stop().await;
    let mut expected: Vec<_> = kafka
        .consumer(&DATA)
        .read(crate::plant::LONG)
        .await?
        .iter()
        .map(line)
        .collect();
    expected.sort_by_key(|line| line.split('\t').take(2).map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(expected.len() as u64, plant.written());

    let bootstrap = kafka.bootstrap();
    let (rust, python) = tokio::task::spawn_blocking(move || {
        let rust = lines(Command::new(rust_consumer()?), &bootstrap)?;
        let mut command = Command::new("python3");
        command
            .arg(examples().join("python/consumer.py"))
            .env("PYTHONPATH", python_packages()?);
        anyhow::Ok((rust, lines(command, &bootstrap)?))
    })
    .await??;
    assert_eq!(rust, expected);
    assert_eq!(python, expected);
    Ok(())
}
