//! The other side of the history: what lies in the database and in Kafka, and on the disks of the agents.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use history_checker::saved::ArrivedLine;
use serde::Deserialize;

use super::plan::Mode;
use super::stand::{DATABASE, PLANT, Stand};

const TOPICS: [&str; 3] = ["vds.results.v1", "vds.job-events.v1", "vds.device-state.v1"];
/// Rows in the order in which they came, with their place in the outbox as long as they stand there: it is the order
/// of the commits.
const EVENTS: &str = "\
SELECT json_build_object('device', e.device, 'spool', e.spool, 'seq', e.seq, 'id', e.event_id,
    'hash', encode(sha256(e.bytes), 'hex'), 'at', 'received ' || e.received_at,
    'order', o.seq, 'generation', (SELECT generation FROM meta))
FROM events e
LEFT JOIN outbox o ON o.device = e.device AND o.spool = e.spool AND o.event_seq = e.seq
ORDER BY e.received_at, e.device, e.seq";

/// Writes `database-*.jsonl`, `kafka-*.jsonl` and the `made-*.jsonl` of the agents. Benches, agents and servers have
/// ended.
pub(super) async fn collect(stand: &Stand) -> anyhow::Result<()> {
    println!("reading the agents' disks, the database and Kafka");
    for (name, spool) in stand.agent_spools() {
        let out = stand.history.join(format!("made-{name}.jsonl"));
        let mut command = tokio::process::Command::new(stand.size.program("history-checker"));
        command.arg("disk").arg(&name).arg(&spool).arg(&out);
        run(command, None).await?;
    }
    let database = stand.history.join("database-events.jsonl");
    match stand.size.mode {
        Mode::Plant => {
            let rows = stand.postgres()?.execute_in(DATABASE, EVENTS).await?;
            std::fs::write(&database, rows + "\n")
                .with_context(|| format!("cannot write {}", database.display()))?;
        }
        Mode::Embedded => {
            let program = stand.size.program("examples/read_record");
            let mut command = tokio::process::Command::new(program);
            command.arg(stand.sqlite());
            run(command, Some(&database)).await?;
        }
    }
    let topics = stand.folder.join("topics.jsonl");
    let mut command = tokio::process::Command::new(stand.size.program("read-topics"));
    command.arg(stand.kafka().bootstrap()).args(TOPICS);
    run(command, Some(&topics)).await?;
    records(&topics, &stand.history.join("kafka-records.jsonl"))
}

async fn run(mut command: tokio::process::Command, out: Option<&Path>) -> anyhow::Result<()> {
    let name = command.as_std().get_program().display().to_string();
    if let Some(out) = out {
        let file = std::fs::File::create(out).with_context(|| format!("cannot make {}", out.display()))?;
        command.stdout(file);
    }
    command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let output = child
        .wait_with_output()
        .await
        .with_context(|| format!("cannot wait for {name}"))?;
    if !output.status.success() {
        bail!(
            "{name} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}

/// A record as `read-topics` writes it.
#[derive(Debug, Deserialize)]
struct Record {
    topic: String,
    partition: i32,
    offset: i64,
    key: Option<String>,
    headers: BTreeMap<String, String>,
    sha256: Option<String>,
}

/// Makes lines of a history of the records.
fn records(from: &Path, to: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(from).with_context(|| format!("cannot read {}", from.display()))?;
    let mut records = Vec::new();
    for line in text.lines() {
        records.push(serde_json::from_str::<Record>(line).with_context(|| format!("no record: {line}"))?);
    }
    drop(text);
    records.sort_by(|a, b| (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset)));
    let file = std::fs::File::create(to).with_context(|| format!("cannot make {}", to.display()))?;
    let mut file = BufWriter::new(file);
    for record in records {
        let header = |name: &str| {
            let value = record.headers.get(name).cloned();
            value.with_context(|| {
                format!(
                    "{}-{}@{} has no header {name}",
                    record.topic, record.partition, record.offset
                )
            })
        };
        // The server's own word after a restore is no event of a bench.
        if header("plant")? != PLANT || header("type")? == "vds.store.restored.v1" {
            continue;
        }
        let line = ArrivedLine {
            device: header("device")?,
            spool: header("spool")?.parse()?,
            seq: header("seq")?.parse()?,
            id: header("event_id")?.parse()?,
            hash: record.sha256.clone().unwrap_or_default(),
            lane: format!("{} {}", record.topic, record.key.as_deref().unwrap_or_default()),
            at: format!("{}-{}@{}", record.topic, record.partition, record.offset),
            order: Some(header("outbox_seq")?.parse()?),
            generation: Some(header("store_generation")?),
        };
        serde_json::to_writer(&mut file, &line)?;
        file.write_all(b"\n")?;
    }
    file.flush().context("cannot write")
}
