//! A server on PostgreSQL: it starts and stays up whatever the database does, and says what is wrong.

use std::process::{Command, Output};
use std::time::Duration;

use fleet_server::config::Database;
use fleet_settings::Secret;
use fleet_testkit::services::{Postgres, PostgresOptions};
use serde_json::json;
use tempfile::TempDir;

use super::stand::{check, new_database, on_postgres, until_ready, until_state};
use crate::bench::Bench;
use crate::support::Server;

/// A PostgreSQL of the test's own, to be hurt.
async fn own(options: PostgresOptions) -> (Postgres, String, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    // The server may run as another user.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("it is ours");
    let server = Postgres::start(&folder.path().join("postgres"), options)
        .await
        .expect("PostgreSQL starts");
    let url = server.url();
    (server, url, folder)
}

async fn server(url: &str) -> Server {
    Server::start_with(|config| on_postgres(config, url)).await
}

fn fleet_server(url: &str, folder: &TempDir, command: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fleet-server"))
        .env_clear()
        .env("FLEET_SERVER__DATA_DIR", folder.path().join("data"))
        .env("FLEET_SERVER__STORE__URL", url)
        .arg(command)
        .output()
        .expect("it starts")
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[tokio::test]
async fn a_bench_is_served_from_postgresql() {
    let server = server(&new_database().await).await;
    until_ready(&server).await;
    let server = server.with_procedure().await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    bench.begin().await;
    server
        .post("/api/v1/jobs", &crate::support::new_job())
        .await
        .expect(201);
    bench.list(|list| !list.jobs.is_empty()).await;
    let replicas = server.get("/api/v1/replicas").await.expect(200);
    assert_eq!(replicas["items"][0]["this"], true, "{replicas}");
    assert_eq!(replicas["free_slots"], json!([]), "{replicas}");
    server.stop().await;
}

#[tokio::test]
async fn a_database_that_is_away_hangs_or_takes_no_writes_is_named_and_found_again() {
    let (mut postgres, url, _folder) = own(PostgresOptions::default()).await;
    postgres.stop().await.unwrap();
    let server = server(&url).await;
    let down = until_state(&server, "store", "unreachable").await;
    assert_eq!((&down["ok"], &down["required"]), (&json!(false), &json!(true)));
    let refused = server.get("/api/v1/benches").await;
    refused.problem(503, "store_unavailable", "no database");
    assert!(refused.json()["detail"].as_str().unwrap().contains("store.url"));
    postgres.restart().await.unwrap();
    until_ready(&server).await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    bench.begin().await;

    postgres.set_read_only(true).await.unwrap();
    until_state(&server, "store", "read_only").await;
    let started = bench.started();
    bench.send(&started).await;
    postgres.set_read_only(false).await.unwrap();
    until_ready(&server).await;
    bench.receipt(|receipt| receipt.through == 2).await;

    postgres.freeze().unwrap();
    until_state(&server, "store", "unreachable").await;
    assert_eq!(
        server.get("/readyz").await.status,
        503,
        "it answers while the database hangs"
    );
    let third = bench.send(&started).await;
    postgres.thaw().unwrap();
    until_ready(&server).await;
    bench.send_at(3, third).await;

    postgres.kill().unwrap();
    until_state(&server, "store", "unreachable").await;
    let fourth = bench.send(&started).await;
    postgres.restart().await.unwrap();
    until_ready(&server).await;
    bench.send_at(4, fourth).await;
    let ledger = server
        .until("/api/v1/benches/bench-1/ledger", |ledger| {
            ledger["spools"][0]["through"] == 4
        })
        .await;
    assert_eq!(ledger["spools"][0]["stored"], 4, "{ledger}");
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_by_name() {
    let (postgres, url, _folder) = own(PostgresOptions {
        password: Some("right".to_owned()),
        ..PostgresOptions::default()
    })
    .await;
    let with = |password: &str| {
        let (url, password) = (without_password(&url), Secret::new(password.to_owned()));
        move |config: &mut fleet_server::config::Config| {
            config.store.database = Database::Postgres {
                url,
                password: Some(password),
            };
        }
    };
    let server = Server::start_with(with("wrong")).await;
    let refused = until_state(&server, "store", "refused").await;
    assert!(
        refused["help"]
            .as_str()
            .unwrap()
            .contains("store.credentials_file"),
        "{refused}"
    );
    server.stop().await;
    let server = Server::start_with(with("right")).await;
    until_ready(&server).await;
    server.stop().await;
    drop(postgres);
}

/// The testkit's URL may carry the password.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().expect("a user");
            format!("{scheme}://{user}@{host}")
        }
        None => url.to_owned(),
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let url = new_database().await;
    let folder = tempfile::tempdir().unwrap();
    let migrated = fleet_server(&url, &folder, "migrate");
    assert!(migrated.status.success(), "{}", said(&migrated));
    assert!(
        said(&migrated).contains("from schema 0 to"),
        "{}",
        said(&migrated)
    );
    let again = fleet_server(&url, &folder, "migrate");
    assert!(said(&again).contains("already"), "{}", said(&again));

    let name = url.rsplit('/').next().unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) \
                 VALUES (99990101000000, 'of the future', now(), true, '\\x00', 0)";
    let postgres = Postgres::shared().await.unwrap();
    postgres.execute_in(name, newer).await.unwrap();
    let refused = fleet_server(&url, &folder, "migrate");
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(
        said(&refused).contains("use the newer version"),
        "{}",
        said(&refused)
    );

    let server = server(&url).await;
    let newer = until_state(&server, "store", "schema_too_new").await;
    assert!(
        newer["detail"].as_str().unwrap().contains("99990101000000"),
        "{newer}"
    );
    server.stop().await;
}

#[tokio::test]
async fn without_leave_to_migrate_a_server_waits_for_a_person() {
    let url = new_database().await;
    let server = Server::start_with(|config| {
        on_postgres(config, &url);
        config.store.auto_migrate = false;
    })
    .await;
    let old = until_state(&server, "store", "schema_too_old").await;
    assert!(
        old["help"].as_str().unwrap().contains("fleet-server migrate"),
        "{old}"
    );
    let folder = tempfile::tempdir().unwrap();
    let migrated = fleet_server(&url, &folder, "migrate");
    assert!(migrated.status.success(), "{}", said(&migrated));
    until_ready(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn the_database_of_another_plant_is_left_alone() {
    let url = new_database().await;
    let first = server(&url).await;
    until_ready(&first).await;
    first.stop().await;
    let other = Server::start_with(|config| {
        on_postgres(config, &url);
        config.plant = "plant-2".parse().unwrap();
    })
    .await;
    until_state(&other, "store", "other_plant").await;
    let slots = check(&other, "slots").await;
    assert!(
        slots["detail"].as_str().unwrap().starts_with("0 of 16"),
        "{slots}"
    );
    other.stop().await;
}

#[tokio::test]
async fn a_restore_may_be_declared_while_the_servers_run() {
    let url = new_database().await;
    let server = server(&url).await;
    until_ready(&server).await;
    let before = server.get("/api/v1/status").await.expect(200)["store_generation"].clone();
    let folder = tempfile::tempdir().unwrap();
    let declared = fleet_server(&url, &folder, "declare-restored");
    assert!(declared.status.success(), "{}", said(&declared));
    let mut bench = Bench::connect(&server, "bench-1").await;
    let started = bench.started();
    bench.send(&started).await;
    let receipt = bench.receipt(|receipt| receipt.through == 1).await;
    let after = receipt.store_generation.0.to_string();
    assert!(
        after.as_str() > before.as_str().unwrap(),
        "{after} after {before}"
    );
    tokio::time::sleep(Duration::from_millis(10)).await;
    server.stop().await;
}
