//! Tables for people.

use serde_json::Value;

use super::number;

/// Lines of PostgreSQL's statements that are shown; the JSON has more.
const STATEMENTS: usize = 10;

/// A part of `bench path`.
pub(super) fn path(name: &str, part: &Value) {
    println!(
        "\n== {name}: sustained {}/s (tried {})",
        part["sustained_rate"], part["tried_rate"]
    );
    println!(
        "| run | events/s | held | receipt p50 / p99 ms | Kafka p50 / p99 ms | CPU s per million: all | without load |"
    );
    println!("|---|---|---|---|---|---|---|");
    let runs = part["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
    for run in runs {
        println!(
            "| {} | {:.0} | {} | {:.0} / {:.0} | {:.0} / {:.0} | {:.1} | {:.1} |",
            run["name"].as_str().unwrap_or_default(),
            number(&run["receipts_per_second"]),
            run["held"],
            number(&run["receipt"]["p50_ms"]),
            number(&run["receipt"]["p99_ms"]),
            number(&run["kafka"]["p50_ms"]),
            number(&run["kafka"]["p99_ms"]),
            number(&run["cpu_s_per_million_all"]),
            number(&run["cpu_s_per_million_without_load"]),
        );
        for reason in run["reasons"].as_array().into_iter().flatten() {
            println!("    {reason}");
        }
    }
    for run in runs {
        detail(run);
    }
}

fn detail(run: &Value) {
    println!("\n{}:", run["name"].as_str().unwrap_or_default());
    for (name, seconds) in run["cpu_s_per_million"].as_object().into_iter().flatten() {
        println!(
            "  {name:<14} {:>6.1} CPU s per million, {:>5} MiB",
            number(seconds),
            run["resident_mib"][name]
        );
    }
    for (name, stage) in run["stages"].as_object().into_iter().flatten() {
        println!(
            "  {name:<36} {:>8} times, {:>7.2} ms on average, {:>5.1} % of the time",
            stage["count"],
            number(&stage["mean_ms"]),
            number(&stage["part_of_time"]) * 100.0
        );
    }
    let million = number(&run["events"]).max(1.0) / 1e6;
    for row in run["statements"]
        .as_array()
        .into_iter()
        .flatten()
        .take(STATEMENTS)
    {
        println!(
            "  {:>6.1} s per million, {:>5.1} MB WAL, {:>7} calls  {}",
            (number(&row["exec_ms"]) + number(&row["plan_ms"])) / 1e3 / million,
            number(&row["wal_bytes"]) / 1e6,
            row["calls"],
            row["statement"].as_str().unwrap_or_default()
        );
    }
    println!("  judged: {}", run["judged"]);
}
