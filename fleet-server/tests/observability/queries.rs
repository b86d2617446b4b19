//! Every query of the dashboard and of the alert rules on a real Prometheus that scrapes a real server.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_testkit::Server;
use fleet_testkit::services::{Prometheus, PrometheusOptions};
use serde_json::Value;
use tempfile::TempDir;

use crate::promql::Existing;
use crate::rules::{RULES, alerts};
use crate::support::{JOB, server, target, text, word};

const DASHBOARD: &str = "deploy/grafana/vds-fleet.json";

fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value.as_str().filter(|_| key == "expr") {
                    Some(expression) => found.push(expression.to_owned()),
                    None => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// The dashboard's queries, with what Grafana puts in the place of its variables.
fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).expect("JSON");
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() > 40, "only {} queries", found.len());
    found
        .into_iter()
        .map(|query| query.replace("$__rate_interval", "1m").replace("$instance", ".*"))
        .collect()
}

async fn observed(folder: &TempDir, server: &Server) -> (Prometheus, Existing) {
    let options = PrometheusOptions {
        job: JOB.to_owned(),
        targets: vec![target(server)],
        rules: Vec::new(),
        interval: Duration::from_millis(500),
    };
    let prometheus = Prometheus::start(&folder.path().join("prometheus"), &options)
        .await
        .expect("Prometheus");
    prometheus
        .until_scraped(1, Duration::from_secs(20))
        .await
        .expect("a scrape");
    let series = prometheus
        .get("series", &[("match[]", &format!("{{job=\"{JOB}\"}}"))])
        .await
        .expect("series");
    let mut existing: BTreeMap<String, Vec<BTreeMap<String, String>>> = BTreeMap::new();
    for member in series.as_array().expect("a list") {
        let labels: BTreeMap<String, String> = serde_json::from_value(member.clone()).expect("labels");
        existing
            .entry(labels["__name__"].clone())
            .or_default()
            .push(labels);
    }
    (prometheus, Existing(existing))
}

#[tokio::test]
async fn every_query_can_be_read_and_names_only_what_is_measured() {
    let folder = TempDir::new().expect("a folder");
    let server = server(&folder).await;
    let (mut prometheus, existing) = observed(&folder, &server).await;
    let rules = alerts()
        .into_iter()
        .map(|alert| (RULES, word(&alert, "expr").to_owned()));
    let panels = dashboard().into_iter().map(|query| (DASHBOARD, query));
    let mut faults = Vec::new();
    for (file, query) in rules.chain(panels) {
        if let Err(error) = prometheus.query(&query).await {
            faults.push(format!("{file}: {query}: {error}"));
        }
        faults.extend(
            existing
                .faults(&query)
                .into_iter()
                .map(|fault| format!("{file}: {query}: {fault}")),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // What the other half of this test rests on: a query that can't be read is an error.
    assert!(prometheus.query("sum(vds_ready").await.is_err());
    prometheus.stop().await.expect("stopped");
}

#[test]
fn every_panel_has_a_title_and_a_query_and_a_place_of_its_own() {
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).expect("JSON");
    let mut places = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        assert!(!word(panel, "title").is_empty(), "{panel}");
        let place = &panel["gridPos"];
        let of = |key: &str| place[key].as_u64().expect("a number");
        let (x, y, w, h) = (of("x"), of("y"), of("w"), of("h"));
        assert!(x + w <= 24, "{panel}");
        for (ox, oy, ow, oh) in &places {
            let apart = x >= ox + ow || *ox >= x + w || y >= oy + oh || *oy >= y + h;
            assert!(apart, "{} lies over another", word(panel, "title"));
        }
        places.push((x, y, w, h));
    }
}
