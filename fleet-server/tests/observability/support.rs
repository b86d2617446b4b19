//! A running server, what it measures, and the files that speak of that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fleet_testkit::{Server, Settings};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_fleet-server");
/// The job's name that the rules expect.
pub(crate) const JOB: &str = "vds-fleet";

/// A path from the repository's root.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A text of the repository.
pub(crate) fn text(path: &str) -> String {
    let path = repository(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A YAML file of the repository.
pub(crate) fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A list in a document; a missing one fails the test.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("{key} is no list in {value}"))
}

/// A text in a document; a missing one fails the test.
pub(crate) fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} is no text in {value}"))
}

/// A server with its own database and broker.
pub(crate) async fn server(folder: &TempDir) -> Server {
    let settings = Settings::new().with("plant", "test");
    Server::start(BINARY.as_ref(), folder.path(), settings, &[])
        .await
        .expect("a server")
}

/// `HOST:PORT` of its API.
pub(crate) fn target(server: &Server) -> String {
    server.http.trim_start_matches("http://").to_owned()
}

/// What a server says under `/metrics`.
pub(crate) async fn scrape(server: &Server) -> String {
    let answer = reqwest::get(format!("{}/metrics", server.http))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.text().await.expect("text")
}

/// A metric as a scrape or the table describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) kind: String,
    pub(crate) labels: BTreeSet<String>,
    pub(crate) members: usize,
}

/// The metrics of a scrape by the name that queries use: a counter with its `_total`.
pub(crate) fn metrics(scrape: &str) -> BTreeMap<String, Metric> {
    let mut all: BTreeMap<String, Metric> = BTreeMap::new();
    for line in scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("name and type");
        let name = if kind == "counter" {
            format!("{name}_total")
        } else {
            name.to_owned()
        };
        let metric = Metric {
            kind: kind.to_owned(),
            labels: BTreeSet::new(),
            members: 0,
        };
        assert!(all.insert(name, metric).is_none(), "{line} stands there twice");
    }
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let (member, _) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = member.split_once('{').unwrap_or((member, ""));
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end).filter(|base| all.contains_key(*base)))
            .unwrap_or(name);
        let metric = all.get_mut(name).unwrap_or_else(|| panic!("{line} has no type"));
        metric.members += 1;
        let labels = labels
            .trim_end_matches('}')
            .split(',')
            .filter_map(|pair| pair.split_once('='));
        metric.labels.extend(
            labels
                .map(|(label, _)| label.to_owned())
                .filter(|label| label != "le"),
        );
    }
    all
}
