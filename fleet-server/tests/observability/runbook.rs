//! The runbook has a section for everything that sends somebody to it.

use std::collections::BTreeSet;

use fleet_store::AlarmKind;
use tempfile::TempDir;

use crate::rules::alerts;
use crate::support::{scrape, server, text, word};

const RUNBOOK: &str = "docs/runbook.md";

/// The anchor of a heading, as GitHub and the page make it.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn anchors() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for line in text(RUNBOOK).lines().filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim();
        assert!(all.insert(anchor(heading)), "two headings {heading}");
    }
    all
}

/// Each component with each of its states, as a server's metrics list them.
async fn states() -> Vec<(String, String)> {
    let folder = TempDir::new().expect("a folder");
    let server = server(&folder).await;
    let label = |line: &str, name: &str| -> Option<String> {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    scrape(&server)
        .await
        .lines()
        .filter(|line| line.starts_with("vds_component_state{"))
        .map(|line| {
            (
                label(line, "component").expect("a component"),
                label(line, "state").expect("a state"),
            )
        })
        .collect()
}

#[tokio::test]
async fn every_state_that_is_not_ok_has_its_section() {
    let anchors = anchors();
    let states = states().await;
    assert!(states.len() > 30, "{states:?}");
    for (component, state) in states.iter().filter(|(_, state)| state != "ok") {
        let wanted = format!("{component}-{state}");
        assert!(anchors.contains(&wanted), "no heading for {component}: {state}");
    }
}

#[tokio::test]
async fn every_alert_leads_to_a_section() {
    let (anchors, states) = (anchors(), states().await);
    for alert in alerts() {
        let (name, runbook) = (word(&alert, "alert"), word(&alert["annotations"], "runbook"));
        let (_, wanted) = runbook.split_once('#').expect("an anchor");
        if wanted.contains("{{") {
            // The section of the state: the states have theirs, so one of a component of the alert is enough.
            let expression = word(&alert, "expr");
            assert!(
                states
                    .iter()
                    .any(|(component, _)| expression.contains(component.as_str())),
                "{name}"
            );
            continue;
        }
        assert!(anchors.contains(wanted), "{name}: no heading {wanted}");
    }
}

#[test]
fn every_link_inside_the_runbook_leads_somewhere() {
    let (anchors, runbook) = (anchors(), text(RUNBOOK));
    let links: Vec<&str> = runbook
        .split("](#")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(link, _)| link)
        .collect();
    assert!(links.len() > 10);
    for link in links {
        assert!(anchors.contains(link), "#{link}");
    }
}

#[test]
fn every_kind_of_alarm_has_its_row() {
    let runbook = text(RUNBOOK);
    for kind in AlarmKind::ALL {
        assert!(
            runbook.contains(&format!("\n| `{}` | ", kind.as_str())),
            "{kind:?}"
        );
    }
}
