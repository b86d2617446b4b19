//! A service does not outlive the program that started it.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use fleet_testkit::eventually;
use fleet_testkit::services::Postgres;

const FOLDER: &str = "WATCHDOG_TEST_CHILD";

/// Not a test by itself: what the child of the test below does.
#[tokio::test]
async fn child_that_starts_a_server() {
    if std::env::var_os(FOLDER).is_none() {
        return;
    }
    let server = Postgres::shared().await.expect("PostgreSQL starts");
    println!("listening {}", server.address());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_server_ends_when_its_program_is_killed_and_its_folder_is_removed() {
    let this = std::env::current_exe().expect("this program");
    let mut child = Command::new(this)
        .args([
            "--exact",
            "--nocapture",
            "services::watchdog::child_that_starts_a_server",
        ])
        .env(FOLDER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let address: SocketAddr = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("listening ")?.1.parse().ok())
        .expect("an address");
    let folder = std::env::temp_dir().join(format!("vds-fleet-postgres-{}", child.id()));
    assert!(TcpStream::connect(address).is_ok() && folder.exists());
    child.kill().expect("killed");
    child.wait().expect("reaped");
    eventually(
        "the end of the server and of its folder",
        Duration::from_secs(20),
        async || (TcpStream::connect(address).is_err() && !folder.exists()).then_some(()),
    )
    .await
    .expect("nothing is left");
}
