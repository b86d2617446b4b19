use std::os::unix::fs::PermissionsExt as _;

use fleet_settings::LockError;
use jiff::Timestamp;

use crate::PROBE;

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

#[test]
fn a_second_process_is_refused_and_told_who_holds_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = PROBE.lock_folder(dir.path(), now()).unwrap();
    let refused = PROBE.lock_folder(dir.path(), now()).unwrap_err();
    assert!(matches!(refused, LockError::Held { .. }), "{refused:?}");
    let text = refused.to_string();
    let holder = format!("process {}, since 2026-01-02T03:04:05Z", std::process::id());
    assert!(text.contains(&holder), "{text}");
    assert!(text.contains("another probe"), "{text}");
    assert!(text.contains("data_dir"), "{text}");
    drop(first);
    PROBE.lock_folder(dir.path(), now()).unwrap();
}

#[test]
fn a_holder_that_has_not_written_its_name_is_a_holder() {
    let dir = tempfile::tempdir().unwrap();
    let held = PROBE.lock_folder(dir.path(), now()).unwrap();
    std::fs::write(dir.path().join("probe.lock"), "").unwrap();
    let refused = PROBE.lock_folder(dir.path(), now()).unwrap_err().to_string();
    assert!(refused.contains("not written yet"), "{refused}");
    drop(held);
}

#[test]
fn what_an_earlier_and_longer_holder_wrote_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("probe.lock");
    std::fs::write(&file, "process 1\nsince long ago\n".repeat(9)).unwrap();
    let _held = PROBE.lock_folder(dir.path(), now()).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        text,
        format!("process {}\nsince 2026-01-02T03:04:05Z\n", std::process::id())
    );
}

#[test]
fn a_folder_is_made_with_the_programs_permissions() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a/b");
    let _held = PROBE.lock_folder(&folder, now()).unwrap();
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_folder_that_cannot_be_made_is_named_with_what_was_tried() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = PROBE.lock_folder(&file.join("data"), now()).unwrap_err();
    assert!(matches!(error, LockError::Io { .. }), "{error:?}");
    let text = fleet_domain::error_chain(&error);
    assert!(
        text.contains("making it failed") && text.contains("file/data"),
        "{text}"
    );
}
