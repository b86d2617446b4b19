//! `docs/metrics.md` against the answer of a running server.

use std::collections::{BTreeMap, BTreeSet};

use tempfile::TempDir;

use crate::support::{Metric, metrics, scrape, server, text};

/// The metrics of the table: type and labels by name.
fn described() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let names =
        |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let mut all = BTreeMap::new();
    for line in text("docs/metrics.md")
        .lines()
        .filter(|line| line.starts_with("| `vds_"))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else {
            panic!("not four cells: {line}");
        };
        assert!(!meaning.is_empty(), "{line}");
        let name = name.trim_matches('`').to_owned();
        assert!(
            all.insert(name, (kind.to_owned(), names(labels))).is_none(),
            "twice: {line}"
        );
    }
    all
}

#[tokio::test]
async fn the_table_of_metrics_is_what_a_server_measures() {
    let folder = TempDir::new().expect("a folder");
    let server = server(&folder).await;
    let scraped = scrape(&server).await;
    let there: BTreeMap<String, (String, BTreeSet<String>)> = metrics(&scraped)
        .into_iter()
        .map(|(name, Metric { kind, labels, .. })| (name, (kind, labels)))
        .collect();
    let described = described();
    for (name, metric) in &there {
        assert_eq!(described.get(name), Some(metric), "{name} in docs/metrics.md");
    }
    for name in described.keys() {
        assert!(
            there.contains_key(name),
            "{name} of docs/metrics.md is not measured"
        );
    }
}

#[tokio::test]
async fn every_metric_has_a_member_from_the_start() {
    let folder = TempDir::new().expect("a folder");
    let server = server(&folder).await;
    let empty: Vec<String> = metrics(&scrape(&server).await)
        .into_iter()
        .filter(|(_, metric)| metric.members == 0)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(empty, Vec::<String>::new());
}

#[tokio::test]
async fn names_and_types_follow_the_conventions() {
    let folder = TempDir::new().expect("a folder");
    let server = server(&folder).await;
    let scraped = scrape(&server).await;
    assert!(
        scraped.ends_with("# EOF\n"),
        "an answer that was cut is noticed by its end"
    );
    for (name, metric) in metrics(&scraped) {
        assert!(name.starts_with("vds_"), "{name}");
        assert_eq!(metric.kind == "counter", name.ends_with("_total"), "{name}");
        assert!(metric.kind != "histogram" || name.ends_with("_seconds"), "{name}");
    }
    for line in scraped.lines().filter(|line| line.starts_with("# HELP ")) {
        let words = line.splitn(4, ' ').nth(3).unwrap_or_default();
        assert!(words.len() > 5, "no meaning: {line}");
    }
}
