//! The alert rules: what promtool says of them, what each must say, and what really happens.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_testkit::eventually;
use fleet_testkit::services::{Prometheus, PrometheusOptions, promtool};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{JOB, list, repository, server, target, word, yaml};

pub(crate) const RULES: &str = "deploy/prometheus/alerts.yaml";
const UNIT_TESTS: &str = "deploy/prometheus/alerts.test.yaml";

/// Every alert rule.
pub(crate) fn alerts() -> Vec<Value> {
    let rules = yaml(RULES);
    list(&rules, "groups")
        .iter()
        .flat_map(|group| list(group, "rules"))
        .cloned()
        .collect()
}

#[test]
fn promtool_finds_no_fault_in_rules_and_configuration() {
    let path = |path: &str| repository(path).display().to_string();
    promtool(&["check", "rules", &path(RULES)]).expect("the rules");
    promtool(&["check", "config", &path("deploy/prometheus/prometheus.yaml")]).expect("the configuration");
    promtool(&["test", "rules", &path(UNIT_TESTS)]).expect("the unit tests");
}

#[test]
fn promtool_notices_a_rule_that_does_not_fire() {
    let folder = TempDir::new().expect("a folder");
    let rules = std::fs::read_to_string(repository(RULES)).expect("the rules");
    let broken = rules.replace("expr: max(vds_ready) == 0", "expr: max(vds_ready) == 2");
    assert_ne!(rules, broken);
    std::fs::write(folder.path().join("alerts.yaml"), broken).expect("a copy");
    let tests = folder.path().join("alerts.test.yaml");
    std::fs::copy(repository(UNIT_TESTS), &tests).expect("a copy");
    let said = promtool(&["test".as_ref(), "rules".as_ref(), tests.as_os_str()]);
    assert!(said.is_err_and(|said| said.to_string().contains("VdsNotReady")));
}

#[test]
fn every_alert_says_what_is_wrong_what_to_do_and_where_to_read() {
    for alert in alerts() {
        let name = word(&alert, "alert");
        let annotations = &alert["annotations"];
        assert!(word(annotations, "summary").len() > 20, "{name}");
        assert!(word(annotations, "action").len() > 20, "{name}");
        assert!(
            word(annotations, "runbook").starts_with("docs/runbook.md#"),
            "{name}"
        );
        assert!(
            ["critical", "warning"].contains(&word(&alert["labels"], "severity")),
            "{name}"
        );
    }
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let tests = yaml(UNIT_TESTS);
    let (mut fires, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for test in list(&tests, "tests")
        .iter()
        .flat_map(|test| list(test, "alert_rule_test"))
    {
        let expected = test["exp_alerts"]
            .as_array()
            .is_some_and(|expected| !expected.is_empty());
        if expected { &mut fires } else { &mut quiet }.insert(word(test, "alertname").to_owned());
    }
    let all: BTreeSet<String> = alerts()
        .iter()
        .map(|alert| word(alert, "alert").to_owned())
        .collect();
    assert_eq!(all, fires);
    assert_eq!(all, quiet);
}

/// The rules on a real Prometheus that scrapes a real server, which is then killed.
#[tokio::test]
async fn a_killed_server_is_noticed() {
    let folder = TempDir::new().expect("a folder");
    let mut server = server(&folder).await;
    let options = PrometheusOptions {
        job: JOB.to_owned(),
        targets: vec![target(&server)],
        rules: vec![repository(RULES)],
        interval: Duration::from_millis(500),
    };
    let mut prometheus = Prometheus::start(&folder.path().join("prometheus"), &options)
        .await
        .expect("Prometheus");
    prometheus
        .until_scraped(1, Duration::from_secs(20))
        .await
        .expect("a scrape");
    server.process.kill().expect("killed");
    // Pending is enough: how long it takes to fire is the unit tests' to say.
    eventually("VdsServerDown", Duration::from_secs(20), async || {
        let alerts = prometheus
            .query(r#"ALERTS{alertname="VdsServerDown"}"#)
            .await
            .ok()?;
        (!alerts.is_empty()).then_some(())
    })
    .await
    .expect("noticed");
    let rules = prometheus.get("rules", &[]).await.expect("rules");
    for rule in list(&rules, "groups")
        .iter()
        .flat_map(|group| list(group, "rules"))
    {
        assert_ne!(word(rule, "health"), "err", "{rule}");
    }
    prometheus.stop().await.expect("stopped");
}
