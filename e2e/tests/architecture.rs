//! What the pages say is what the code is: the direction of dependencies in ARCHITECTURE.md against what cargo
//! resolves, the settings in docs/configuration.md against the tables of keys.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

type Names = BTreeSet<String>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What cargo resolves for this workspace.
struct Workspace {
    /// Name of every package by its id.
    names: BTreeMap<String, String>,
    /// Ids of our own packages.
    members: BTreeSet<String>,
    /// Ids that a package depends on outside tests.
    normal: BTreeMap<String, BTreeSet<String>>,
}

impl Workspace {
    fn read() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--offline"])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let list = |value: &Value| value.as_array().expect("a list").clone();
        let names = list(&metadata["packages"])
            .iter()
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let members = list(&metadata["workspace_members"]).iter().map(text).collect();
        let mut normal = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            let shipped = |dep: &Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            let deps = list(&node["deps"]);
            let deps = deps
                .iter()
                .filter(|dep| shipped(dep))
                .map(|dep| text(&dep["pkg"]))
                .collect();
            normal.insert(text(&node["id"]), deps);
        }
        Self {
            names,
            members,
            normal,
        }
    }

    fn name(&self, id: &str) -> String {
        self.names[id].clone()
    }

    fn id(&self, name: &str) -> String {
        let mut found = self.members.iter().filter(|id| self.names[*id] == name);
        found
            .next()
            .unwrap_or_else(|| panic!("no crate {name} in the workspace"))
            .clone()
    }

    /// Our own crates among `ids`.
    fn ours(&self, ids: &BTreeSet<String>) -> Names {
        ids.iter()
            .filter(|id| self.members.contains(*id))
            .map(|id| self.name(id))
            .collect()
    }

    /// Names of everything that ends up in a crate outside tests.
    fn closure(&self, name: &str) -> Names {
        let mut seen = BTreeSet::new();
        let mut open = vec![self.id(name)];
        while let Some(id) = open.pop() {
            for next in &self.normal[&id] {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        seen.iter().map(|id| self.name(id)).collect()
    }
}

/// The table below `## Direction of dependencies`: crate, and our crates that it uses outside tests.
fn stated() -> BTreeMap<String, Names> {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let (_, section) = page
        .split_once("\n## Direction of dependencies\n")
        .expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    let ticked = |cell: &str| -> Names { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').collect();
        let name = ticked(cells[1]).into_iter().next().expect("a crate's name");
        (name, ticked(cells[2]))
    })
    .collect()
}

#[test]
fn every_crate_depends_on_what_the_page_says_and_on_nothing_else_of_ours() {
    let workspace = Workspace::read();
    let found: BTreeMap<_, _> = workspace
        .members
        .iter()
        .map(|id| (workspace.name(id), workspace.ours(&workspace.normal[id])))
        .collect();
    let stated = stated();
    for (name, uses) in &found {
        let allowed = stated
            .get(name)
            .unwrap_or_else(|| panic!("ARCHITECTURE.md does not name {name}"));
        assert_eq!(uses, allowed, "{name}: found left, ARCHITECTURE.md says right");
    }
    for name in stated.keys() {
        assert!(
            found.contains_key(name),
            "ARCHITECTURE.md names {name}, the workspace has no such crate"
        );
    }
}

#[test]
fn pure_crates_reach_no_network_no_database_no_clock_and_no_runtime() {
    let workspace = Workspace::read();
    let effects = [
        "axum",
        "fleet-clock",
        "hyper",
        "mio",
        "mqtt5",
        "reqwest",
        "rumqttc",
        "socket2",
        "sqlx",
        "tokio",
    ];
    for name in [
        "fleet-domain",
        "fleet-recording",
        "fleet-wire",
        "agent-core",
        "procedure",
        "uds",
    ] {
        let reached = workspace.closure(name);
        let bad: Vec<_> = effects
            .iter()
            .filter(|effect| reached.contains(**effect))
            .collect();
        assert!(bad.is_empty(), "{name} is pure, but reaches {bad:?}");
    }
}

#[test]
fn the_stores_know_sql_and_one_broker_module_the_broker() {
    let workspace = Workspace::read();
    for (library, owners) in [
        ("sqlx", &["fleet-store-sqlite", "fleet-store-postgres"][..]),
        ("mqtt5", &["fleet-server"]),
        ("axum", &["fleet-server", "fleet-testkit"]),
        ("simple_doip", &["doip"]),
        ("figment", &["fleet-server", "fleet-settings"]),
    ] {
        for id in &workspace.members {
            let direct = workspace.normal[id]
                .iter()
                .any(|dep| workspace.names[dep] == library);
            let name = workspace.name(id);
            assert!(
                !direct || owners.contains(&name.as_str()),
                "{name} uses {library}, only {owners:?} may"
            );
        }
    }
}

#[test]
fn the_testkit_and_the_simulator_end_up_in_no_shipped_program() {
    let workspace = Workspace::read();
    for name in ["fleet-server", "device-agent"] {
        let reached = workspace.closure(name);
        assert!(!reached.contains("fleet-testkit"), "{name} ships the testkit");
        assert!(!reached.contains("ecu-sim"), "{name} ships the simulator");
        // Either half can be replaced alone: they share the wire and the domain only.
        let other = if name == "fleet-server" {
            "agent-core"
        } else {
            "fleet-store"
        };
        assert!(
            !reached.contains(other),
            "{name} reaches into the other half: {other}"
        );
    }
}

#[test]
fn every_setting_stands_on_the_page_with_its_default_and_meaning() {
    let page = std::fs::read_to_string(root().join("docs/configuration.md")).expect("docs/configuration.md");
    let server = fleet_server::config::KEYS
        .iter()
        .map(|key| (key.name, key.default, key.meaning));
    let agent = device_agent::config::KEYS
        .iter()
        .map(|key| (key.name, key.default, key.meaning));
    let mut rows = 0;
    for (name, default, meaning) in server.chain(agent) {
        let default = default.map_or_else(|| "not set".to_owned(), |default| format!("`{default}`"));
        let row = format!("\n| `{name}` | {default} | {meaning} |\n");
        assert!(page.contains(&row), "docs/configuration.md lacks{row}");
        rows += 1;
    }
    let on_page = page
        .lines()
        .filter(|line| line.starts_with("| `") && line.split('|').count() == 5);
    assert_eq!(
        on_page.count(),
        rows,
        "docs/configuration.md names a setting that is none"
    );
}

#[test]
fn every_link_between_the_pages_leads_to_a_file() {
    let folders = ["", "docs", "docs/adr", "demo"];
    let pages = folders.iter().flat_map(|folder| {
        let entries = std::fs::read_dir(root().join(folder)).expect("a folder of pages");
        entries.map(|entry| entry.expect("an entry").path())
    });
    let mut links = 0;
    for page in pages.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = std::fs::read_to_string(&page).expect("a page");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, _) = target.split_once('#').unwrap_or((target, ""));
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let folder = page.parent().expect("a page lies in a folder");
            assert!(folder.join(path).exists(), "{} links to {target}", page.display());
            links += 1;
        }
    }
    assert!(links > 20, "the pages were found");
}
