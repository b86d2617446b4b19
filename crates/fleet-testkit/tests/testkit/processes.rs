//! Programs are started, watched, killed and started again.

use std::path::Path;
use std::time::Duration;

use fleet_testkit::services::LoopDisk;
use fleet_testkit::{Process, Program};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(10);

fn shell(folder: &TempDir, script: &str) -> Process {
    Program::new("script", Path::new("/bin/sh"), &folder.path().join("script.log"))
        .args(["-c", script])
        .envs([("GREETING", "up")])
        .start()
        .expect("a shell starts")
}

fn runs(pid: u32) -> bool {
    kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), None) != Err(Errno::ESRCH)
}

async fn until_up(process: &mut Process, times: usize) {
    let log = process.log().to_owned();
    process
        .until_ready("the greeting", SOON, || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            (text.lines().filter(|line| *line == "up").count() == times).then_some(())
        })
        .await
        .expect("the greeting in the log");
}

#[tokio::test]
async fn a_killed_process_is_gone_and_its_successor_goes_on_in_the_same_log() {
    let folder = TempDir::new().expect("a folder");
    let mut first = shell(&folder, "echo $GREETING; exec sleep 600");
    until_up(&mut first, 1).await;
    assert!(first.ended().is_none() && runs(first.pid()));
    first.kill().expect("killed");
    assert!(first.ended().is_some() && !runs(first.pid()));
    first.kill().expect("killing the dead is no error");
    first
        .signal(Signal::SIGTERM)
        .expect("nor is a signal, which nobody gets");

    let mut second = shell(&folder, "echo $GREETING; exec sleep 600");
    until_up(&mut second, 2).await;
}

#[tokio::test]
async fn a_dropped_process_does_not_stay_behind() {
    let folder = TempDir::new().expect("a folder");
    let process = shell(&folder, "exec sleep 600");
    let pid = process.pid();
    drop(process);
    assert!(!runs(pid));
}

#[tokio::test]
async fn a_program_that_ends_before_it_is_ready_is_reported_at_once_with_its_log() {
    let folder = TempDir::new().expect("a folder");
    let mut process = shell(&folder, "echo 'data folder held by pid 7' >&2; exit 3");
    let error = process
        .until_ready("its file", Duration::from_mins(10), || None::<()>)
        .await;
    let message = error.expect_err("it ended").to_string();
    assert!(
        message.contains("exit code 3") && message.contains("held by pid 7"),
        "{message}"
    );
    assert!(message.contains("script.log"), "{message}");
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed_and_that_is_said() {
    let folder = TempDir::new().expect("a folder");
    let mut process = shell(
        &folder,
        "trap '' TERM; echo $GREETING; while :; do sleep 600 & wait $!; done",
    );
    until_up(&mut process, 1).await;
    let error = process
        .terminate(Duration::from_millis(50))
        .await
        .expect_err("it ignores SIGTERM");
    assert!(error.to_string().contains("was killed"), "{error}");
    assert!(process.ended().is_some());
}

#[tokio::test]
async fn a_frozen_process_does_nothing_until_it_is_resumed() {
    let folder = TempDir::new().expect("a folder");
    let mut process = shell(
        &folder,
        "trap 'exit 5' TERM; echo $GREETING; while :; do sleep 0.01; done",
    );
    until_up(&mut process, 1).await;
    process.stop().expect("frozen");
    process.signal(Signal::SIGTERM).expect("sent");
    assert!(
        process.wait(Duration::from_millis(100)).await.is_err(),
        "a frozen process handles no signal"
    );
    process.resume().expect("resumed");
    assert_eq!(process.wait(SOON).await.expect("it ends").code(), Some(5));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let folder = TempDir::new().expect("a folder");
    let missing = Program::new(
        "fleet-server",
        Path::new("/no/such/file"),
        &folder.path().join("log"),
    )
    .start();
    let message = format!("{:#}", missing.expect_err("no such program"));
    assert!(
        message.contains("fleet-server") && message.contains("/no/such/file"),
        "{message}"
    );
}

#[test]
fn a_small_disk_is_full_and_takes_more_when_it_is_freed() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = LoopDisk::mount(
        &folder.path().join("image"),
        &folder.path().join("disk"),
        64 << 20,
    )
    .expect("root and loop devices");
    let file = disk.folder().join("file");
    std::fs::write(&file, vec![1; 100_000]).expect("there is room");
    disk.fill().expect("filled");
    let refused = std::fs::write(disk.folder().join("other"), vec![1; 1_000_000]).expect_err("it is full");
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(std::fs::read(&file).expect("it is there").len(), 100_000);
    disk.free().expect("freed");
    std::fs::write(disk.folder().join("other"), vec![1; 1_000_000]).expect("there is room again");
}
