//! Writes the events of a server's SQLite database as lines of a history for `history-checker`, by SQL of its own:
//! a judge must not ask the code that it judges. The server must not run.
//!
//! `cargo run -p fleet-store-sqlite --example read_record -- data/fleet.db`

use std::error::Error;
use std::io::Write as _;

use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Row as _};
use uuid::Uuid;

/// Rows at a time.
const PAGE: i64 = 5000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: read_record FILE")?;
    // Not read-only: the log beside the file may hold what was committed last.
    let mut conn = SqliteConnectOptions::new().filename(path).connect().await?;
    let generation: Vec<u8> = sqlx::query_scalar("SELECT generation FROM meta")
        .fetch_one(&mut conn)
        .await?;
    let generation = Uuid::from_slice(&generation)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut after = 0_i64;
    loop {
        let rows = sqlx::query(
            "SELECT n, device, spool, seq, event_id, bytes FROM events WHERE n > ? ORDER BY n LIMIT ?",
        )
        .bind(after)
        .bind(PAGE)
        .fetch_all(&mut conn)
        .await?;
        let Some(last) = rows.last() else { break };
        after = last.try_get("n")?;
        for row in &rows {
            let (n, seq): (i64, i64) = (row.try_get("n")?, row.try_get("seq")?);
            let device: String = row.try_get("device")?;
            let (spool, id): (Vec<u8>, Vec<u8>) = (row.try_get("spool")?, row.try_get("event_id")?);
            let bytes: Vec<u8> = row.try_get("bytes")?;
            let line = serde_json::json!({
                "device": device,
                "spool": Uuid::from_slice(&spool)?,
                "seq": seq,
                "id": Uuid::from_slice(&id)?,
                "hash": hex::encode(Sha256::digest(&bytes)),
                // One after the other: the row's number is the order of the commits.
                "lane": "database",
                "at": format!("row {n}"),
                "generation": generation,
            });
            writeln!(out, "{line}")?;
        }
    }
    out.flush()?;
    Ok(())
}
