//! Rule 28: after a restore offers wait for every bench, and there is a way out.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::bench::Bench;
use super::support::{Server, new_job};

fn declare(folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fleet-server"))
        .env_clear()
        .env("FLEET_SERVER__DATA_DIR", folder)
        .arg("declare-restored")
        .output()
        .expect("it starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn check(server: &Server, name: &str) -> Value {
    let ready = server.get("/readyz").await.expect(200);
    let checks = ready["checks"].as_array().expect("checks").clone();
    checks
        .into_iter()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {ready}"))
}

#[tokio::test]
async fn a_declared_restore_holds_offers_until_every_bench_is_heard_or_released() {
    let mut server = Server::start().await.with_procedure().await;
    let status = server.get("/api/v1/status").await.expect(200);
    assert_eq!(status["waiting_for_benches"], json!([]));
    for name in ["bench-1", "bench-2"] {
        Bench::connect(&server, name).await.begin().await;
    }
    let release = |device: &str| format!("/api/v1/benches/{device}/release");
    let reason = json!({ "reason": "scrapped in May" });
    server
        .post(&release("bench-2"), &reason)
        .await
        .problem(409, "not_awaited", "nothing was restored");

    let before = status["store_generation"].clone();
    server
        .restart_after(|folder| {
            let declared = declare(folder);
            assert!(declared.status.success(), "{}", said(&declared));
        })
        .await;
    let status = server.get("/api/v1/status").await.expect(200);
    assert!(status["store_generation"].as_str() > before.as_str(), "{status}");
    assert_eq!(status["waiting_for_benches"], json!(["bench-1", "bench-2"]));

    let mut bench = Bench::connect(&server, "bench-1").await;
    let generation = status["store_generation"].as_str().unwrap().parse().unwrap();
    let started = bench.started();
    bench.send(&started).await;
    bench.presence(true).await;
    bench
        .sync_with(|sync| sync.store_generation = Some(fleet_domain::StoreGeneration(generation)))
        .await;
    let job = server.post("/api/v1/jobs", &new_job()).await.expect(201);
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
    server
        .until("/api/v1/status", |status| {
            status["waiting_for_benches"] == json!(["bench-2"])
        })
        .await;
    let alarms = server
        .until("/api/v1/alarms", |alarms| {
            let mut items = alarms["items"].as_array().unwrap().iter();
            items.any(|alarm| {
                alarm["code"] == "offers_held" && alarm["detail"].as_str().unwrap().ends_with(": bench-2")
            })
        })
        .await;
    assert!(
        alarms["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|alarm| alarm["code"] == "declared_restore")
    );
    let offers = check(&server, "offers").await;
    assert_eq!(
        offers["ok"], true,
        "a server that waits is ready: syncs must reach it"
    );
    assert!(offers["detail"].as_str().unwrap().contains("bench-2"), "{offers}");
    assert_eq!(server.get(&path).await.expect(200)["state"], "queued");

    server
        .post(&release("never-heard-of"), &reason)
        .await
        .problem(404, "not_found", "an unknown bench");
    server
        .post(&release("not a name"), &reason)
        .await
        .problem(400, "bad_id", "no id");
    server
        .post(&release("bench-2"), &json!({ "reason": " " }))
        .await
        .problem(400, "bad_value", "no reason");
    server
        .post(&release("bench-1"), &reason)
        .await
        .problem(409, "not_awaited", "it was heard");
    for _ in 0..2 {
        let released = server.post(&release("bench-2"), &reason).await.expect(200);
        assert_eq!(released["device"], "bench-2");
    }
    server.until(&path, |job| job["state"] == "offered").await;
    let status = server.get("/api/v1/status").await.expect(200);
    assert_eq!(status["waiting_for_benches"], json!([]));
    assert_eq!(check(&server, "offers").await["detail"], "they are made");
    let alarms = server.get("/api/v1/alarms").await.expect(200);
    let released = alarms["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|alarm| alarm["device"] == "bench-2")
        .unwrap();
    let detail = released["detail"].as_str().unwrap();
    assert!(
        detail.contains("local-operator") && detail.contains("scrapped in May"),
        "{detail}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_restore_is_declared_only_of_a_database_that_no_server_holds() {
    let server = Server::start().await;
    let before = server.get("/api/v1/status").await.expect(200);
    let refused = declare(&server.config.data_dir);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    assert!(
        said(&refused).contains(&format!("process {}", std::process::id())),
        "{}",
        said(&refused)
    );
    let after = server.get("/api/v1/status").await.expect(200);
    assert_eq!(before["store_generation"], after["store_generation"]);
    server.stop().await;

    let nothing = tempfile::tempdir().unwrap();
    let folder = nothing.path().join("data");
    let refused = declare(&folder);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("fleet.db"), "{}", said(&refused));
    assert!(!folder.exists(), "no database is made to be declared");
}
