//! The page about brokers says what the tests expect, and what the tool advises.

use broker_conformance::catalog::CHECKS;

use crate::expected::table;
use crate::root;

fn page() -> String {
    std::fs::read_to_string(root().join("docs/brokers.md")).expect("docs/brokers.md")
}

#[test]
fn the_page_has_the_table_that_the_tests_hold_the_brokers_to() {
    let page = page();
    let table = table();
    assert!(
        page.contains(&table),
        "docs/brokers.md must have this table:\n{table}"
    );
}

#[test]
fn the_page_has_the_settings_that_the_tool_advises() {
    let page = page();
    for setting in [
        "max_inflight_messages 2000",
        "max_queued_messages 100000",
        "persistence true",
        "<max-queue-size>100000</max-queue-size>",
        "<server-receive-maximum>1000</server-receive-maximum>",
        "MAX_INFLIGHT_WINDOW_SIZE_MESSAGES.set(2000)",
    ] {
        assert!(page.contains(setting), "{setting} is missing in docs/brokers.md");
        let advised = CHECKS
            .iter()
            .flat_map(|check| check.settings)
            .any(|known| known.setting.contains(setting));
        assert!(advised, "{setting} is advised by no check");
    }
}
