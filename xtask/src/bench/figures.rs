//! Time per stage: from the server's metrics and from PostgreSQL's own statistics of statements.

use std::collections::BTreeMap;

use fleet_testkit::Api;
use fleet_testkit::services::Postgres;
use serde_json::{Value, json};

/// Statements of PostgreSQL in a report.
const STATEMENTS: usize = 25;
/// Characters of a statement.
const SHOWN: usize = 110;

/// The server's metrics: sums of all series of a name.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads them; nothing where the server does not answer.
    pub(super) async fn read(api: &Api) -> Self {
        let Ok(Value::String(text)) = api.get("/metrics").await else {
            return Self::default();
        };
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let mut all = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((series, value)) = line.rsplit_once(' ')
                && let Ok(value) = value.parse::<f64>()
            {
                let name = series.split('{').next().unwrap_or(series);
                *all.entry(name.to_owned()).or_insert(0.0) += value;
                all.insert(series.to_owned(), value);
            }
        }
        Self(all)
    }

    pub(super) fn get(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or_default()
    }

    /// Every histogram of seconds that moved: how often, the mean, and its part of the time that passed.
    pub(super) fn stages(&self, before: &Self, seconds: f64) -> Value {
        let mut stages = serde_json::Map::new();
        for series in self.0.keys().filter(|series| series.ends_with("_seconds_count")) {
            let name = series.trim_end_matches("_count");
            let since = |suffix: &str| {
                let series = format!("{name}_{suffix}");
                self.get(&series) - before.get(&series)
            };
            let (count, sum) = (since("count"), since("sum"));
            if count > 0.0 && sum > 0.0 {
                let stage =
                    json!({ "count": count, "mean_ms": sum / count * 1e3, "part_of_time": sum / seconds });
                stages.insert(name.to_owned(), stage);
            }
        }
        Value::Object(stages)
    }
}

/// Settings of PostgreSQL under which statements are counted, and which a server with this load needs.
pub(super) fn postgres_settings() -> Vec<(String, String)> {
    [
        ("shared_preload_libraries", "pg_stat_statements"),
        ("pg_stat_statements.track_planning", "on"),
        ("shared_buffers", "1GB"),
        ("max_wal_size", "8GB"),
        ("min_wal_size", "1GB"),
        ("checkpoint_timeout", "15min"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Begins to count.
pub(super) async fn count_statements(postgres: &Postgres, database: &str) -> anyhow::Result<()> {
    postgres
        .execute_in(database, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        .await?;
    postgres
        .execute_in(database, "SELECT pg_stat_statements_reset()")
        .await
        .map(drop)
}

/// What the statements took since, most first.
pub(super) async fn statements(postgres: &Postgres, database: &str) -> anyhow::Result<Value> {
    let sql = format!(
        "SELECT calls, round(total_exec_time), round(total_plan_time), rows, wal_bytes,
             regexp_replace(left(query, {SHOWN}), '\\s+', ' ', 'g')
         FROM pg_stat_statements ORDER BY total_exec_time + total_plan_time DESC LIMIT {STATEMENTS}"
    );
    let rows = postgres.execute_in(database, &sql).await?;
    let row = |line: &str| {
        let mut columns = line.splitn(6, '|');
        let mut count = || columns.next().and_then(|text| text.parse::<u64>().ok());
        let (calls, exec_ms, plan_ms, rows, wal_bytes) = (count(), count(), count(), count(), count());
        json!({
            "calls": calls, "exec_ms": exec_ms, "plan_ms": plan_ms, "rows": rows, "wal_bytes": wal_bytes,
            "statement": columns.next(),
        })
    };
    Ok(rows.lines().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_what_happened_between_two_readings() {
        let before = Metrics::parse("vds_batch_seconds_sum 1.5\nvds_batch_seconds_count 10\n");
        let text = "# HELP x\nvds_batch_seconds_sum 4.5\nvds_batch_seconds_count 40\nvds_x{a=\"1\"} 2\nvds_x{a=\"2\"} 3\n";
        let after = Metrics::parse(text);
        let stages = after.stages(&before, 10.0);
        assert_eq!(
            stages["vds_batch_seconds"],
            json!({ "count": 30.0, "mean_ms": 100.0, "part_of_time": 0.3 })
        );
        assert!((after.get("vds_x") - 5.0).abs() < 1e-9);
        assert!((after.get("vds_x{a=\"2\"}") - 3.0).abs() < 1e-9);
    }
}
