//! PostgreSQL.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use fleet_testkit::services::{Postgres, PostgresOptions, ServiceProgram};
use tempfile::TempDir;

use super::{folder, took};

async fn start(folder: &TempDir) -> Postgres {
    Postgres::start(folder.path(), PostgresOptions::default())
        .await
        .expect("PostgreSQL starts")
}

async fn count(server: &Postgres, table: &str) -> String {
    let sql = format!("SELECT count(*) FROM {table}");
    server.execute(&sql).await.expect("a count")
}

async fn with_rows(server: &Postgres) {
    let sql = "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n";
    server.execute(sql).await.expect("rows");
}

/// A client without the testkit's own settings; gives what it says when it fails.
fn as_the_product(server: &Postgres, password: &str, sql: &str) -> Result<(), String> {
    let server_program = ServiceProgram::Postgres.path().expect("PostgreSQL is installed");
    let output = Command::new(server_program.with_file_name("psql"))
        .args(["-X", "-w", "-v", "ON_ERROR_STOP=1", "-c", sql, &server.url()])
        .env("PGPASSWORD", password)
        .output()
        .expect("psql runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(()).ok_or(said)
}

#[tokio::test]
async fn what_was_committed_is_there_after_sigkill_and_after_an_orderly_end_on_the_same_port() {
    let folder = folder();
    let begin = Instant::now();
    let mut server = start(&folder).await;
    took("PostgreSQL start, new folder", begin);
    let url = server.url();
    with_rows(&server).await;

    let begin = Instant::now();
    server.kill().expect("killed");
    took("PostgreSQL kill -9", begin);
    assert!(TcpStream::connect(server.address()).is_err(), "nobody listens");
    let begin = Instant::now();
    server.restart().await.expect("it recovers");
    took("PostgreSQL restart after kill -9", begin);
    assert_eq!(count(&server, "kept").await, "1000");

    let begin = Instant::now();
    server.stop().await.expect("it ends in order");
    took("PostgreSQL orderly stop", begin);
    let begin = Instant::now();
    server.restart().await.expect("it starts");
    took("PostgreSQL restart after orderly stop", begin);
    assert_eq!(count(&server, "kept").await, "1000");
    assert_eq!(server.url(), url);

    drop(server);
    let again = start(&folder).await;
    assert_eq!(
        count(&again, "kept").await,
        "1000",
        "a new handle goes on with the folder"
    );
}

#[tokio::test]
async fn a_frozen_server_is_silent_and_a_thawed_one_answers() {
    let folder = folder();
    let mut server = start(&folder).await;
    server.freeze().expect("frozen");
    let asked = tokio::time::timeout(Duration::from_millis(500), server.execute("SELECT 1")).await;
    assert!(asked.is_err(), "no answer, no error: {asked:?}");
    let stream = TcpStream::connect(server.address());
    assert!(stream.is_ok(), "the kernel still takes connections");
    server.thaw().expect("thawed");
    assert_eq!(server.execute("SELECT 1").await.expect("an answer"), "1");
    server.freeze().expect("frozen");
    server.kill().expect("a frozen one can be killed");
    server.restart().await.expect("and started again");
}

#[tokio::test]
async fn a_restored_backup_takes_the_place_of_the_database() {
    let folder = folder();
    let server = start(&folder).await;
    with_rows(&server).await;
    let backup = folder.path().join("backup");
    server.dump("fleet", &backup).await.expect("a backup");
    server.execute("DELETE FROM kept").await.expect("deleted");
    server.execute("CREATE TABLE later (n int)").await.expect("made");
    server.restore("fleet", &backup).await.expect("restored");
    assert_eq!(count(&server, "kept").await, "1000");
    let error = server
        .execute("SELECT * FROM later")
        .await
        .expect_err("it is gone");
    assert!(error.to_string().contains("does not exist"), "{error}");
    let error = server.restore("fleet", &folder.path().join("none")).await;
    assert!(error.is_err());
    assert_eq!(
        count(&server, "kept").await,
        "1000",
        "a backup that cannot be read changes nothing"
    );
}

#[tokio::test]
async fn a_read_only_server_refuses_to_write_until_it_is_told_otherwise() {
    let server = Postgres::shared().await.expect("PostgreSQL starts");
    let url = server.create_database("read_only").await.expect("a database");
    assert!(url.ends_with("/read_only"), "{url}");
    assert!(
        server.create_database("read_only").await.is_err(),
        "one of this name is there"
    );
    server
        .execute_in("read_only", "CREATE TABLE t (n int)")
        .await
        .expect("writable");
    server.drop_database("read_only").await.expect("dropped");

    // Its own server: the setting holds for all databases.
    let folder = folder();
    let server = start(&folder).await;
    let write = |table: &str| as_the_product(&server, "", &format!("CREATE TABLE {table} (n int)"));
    write("before").expect("writable");
    server.set_read_only(true).await.expect("set");
    let error = write("meanwhile").expect_err("read-only");
    assert!(error.contains("read-only transaction"), "{error}");
    server.set_read_only(false).await.expect("set");
    write("after").expect("writable");
}

#[tokio::test]
async fn a_full_disk_refuses_rows_and_the_server_lives_on() {
    let folder = folder();
    let options = PostgresOptions {
        small_disk: Some(64 * 1024 * 1024),
        ..PostgresOptions::default()
    };
    let mut server = Postgres::start(folder.path(), options)
        .await
        .expect("PostgreSQL starts");
    server.execute("CREATE TABLE t (text text)").await.expect("made");
    server.fill_disk().expect("filled");
    let rows = "INSERT INTO t SELECT repeat('x', 500) FROM generate_series(1, 10000)";
    let error = server.execute(rows).await.expect_err("full");
    assert!(error.to_string().contains("No space left on device"), "{error}");
    server.free_disk().expect("freed");
    server.execute(rows).await.expect("there is room again");
    assert_eq!(count(&server, "t").await, "10000");
}

#[tokio::test]
async fn a_role_with_a_password_is_let_in_with_it_alone() {
    let folder = folder();
    let options = PostgresOptions {
        password: Some("right".to_owned()),
        ..PostgresOptions::default()
    };
    let server = Postgres::start(folder.path(), options)
        .await
        .expect("PostgreSQL starts");
    as_the_product(&server, "right", "SELECT 1").expect("let in");
    let error = as_the_product(&server, "wrong", "SELECT 1").expect_err("kept out");
    assert!(error.contains("password authentication failed"), "{error}");
}

#[tokio::test]
async fn two_servers_run_beside_each_other_also_in_folders_that_only_root_may_pass() {
    let (one, other) = (folder(), folder());
    let walled_in = one.path().join("walled/in");
    std::fs::create_dir_all(&walled_in).expect("a folder");
    let closed = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(one.path().join("walled"), closed).expect("closed");
    let options = PostgresOptions::default;
    let (first, second) = tokio::join!(
        Postgres::start(&walled_in, options()),
        Postgres::start(other.path(), options())
    );
    let (first, second) = (first.expect("one starts"), second.expect("the other starts"));
    assert_ne!(first.url(), second.url());
    with_rows(&first).await;
    assert!(
        second.execute("SELECT * FROM kept").await.is_err(),
        "they share nothing"
    );
}
