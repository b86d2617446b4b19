//! `history-checker`

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use history_checker::read_spools;
use history_checker::saved::{self, MadeLine};

/// The history could not be judged.
const NOT_JUDGED: u8 = 2;

#[derive(Debug, Parser)]
#[command(
    name = "history-checker",
    version,
    about = "Judges what benches made against what arrived in the database and in Kafka",
    after_help = "Exit codes: 0 the history keeps the contract, 1 it does not, 2 it could not be judged"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge a saved history
    Judge {
        /// Its folder, with made-*.jsonl, database-*.jsonl, kafka-*.jsonl, faults.jsonl
        folder: PathBuf,
        /// Write the report as JSON
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Write what lies on a bench's disk as lines of a history; the bench must not run
    Disk {
        /// The bench's name
        device: String,
        /// The folder of its spools
        folder: PathBuf,
        /// Where to write, a new file
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Judge { folder, report } => judge(&folder, report.as_deref()),
        Command::Disk { device, folder, out } => disk(&device, &folder, &out),
    };
    done.unwrap_or_else(|error| {
        // Who closed standard error reads nothing anyway.
        let _ = writeln!(std::io::stderr(), "history-checker: {error:#}");
        ExitCode::from(NOT_JUDGED)
    })
}

fn judge(folder: &Path, report: Option<&Path>) -> anyhow::Result<ExitCode> {
    let judgement = saved::judge(folder)?;
    if let Some(path) = report {
        let text = serde_json::to_vec_pretty(&judgement.report())?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    write!(std::io::stdout().lock(), "{judgement}")?;
    Ok(ExitCode::from(u8::from(!judgement.is_clean())))
}

fn disk(device: &str, folder: &Path, out: &Path) -> anyhow::Result<ExitCode> {
    let made = read_spools(device, folder, jiff::Timestamp::UNIX_EPOCH)?;
    let file = std::fs::File::create_new(out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut file = BufWriter::new(file);
    for made in &made {
        serde_json::to_writer(&mut file, &MadeLine::on_disk(made))?;
        file.write_all(b"\n")?;
    }
    file.flush()
        .with_context(|| format!("cannot write {}", out.display()))?;
    Ok(ExitCode::SUCCESS)
}
