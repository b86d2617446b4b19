//! Jobs from the request to the bench's list and back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use fleet_domain::{Outcome, Verdict};
use fleet_wire::EventBody;
use fleet_wire::command::{DesiredJob, DesiredState};
use fleet_wire::event::{
    AttemptRef, JobAccepted, JobFinished, JobStarted, Limits, Measurement, StepFinished, Value as Measured,
};
use reqwest::Method;
use serde_json::json;

use super::bench::Bench;
use super::support::{Server, VIN, new_job};

#[tokio::test]
async fn the_same_request_is_the_same_job() {
    let server = Server::start().await.with_procedure().await;
    let mut request = new_job();
    request["request_id"] = json!("MES-4711");
    let first = server.post("/api/v1/jobs", &request).await.expect(201);
    let again = server.post("/api/v1/jobs", &request).await.expect(200);
    assert_eq!(first["id"], again["id"]);
    let mut by_header = new_job();
    by_header.as_object_mut().unwrap().remove("request_id");
    let by_header = server
        .request(Method::POST, "/api/v1/jobs")
        .header("idempotency-key", "MES-4711")
        .json(&by_header);
    assert_eq!(server.send(by_header).await.expect(200)["id"], first["id"]);
    request["priority"] = json!(5);
    server
        .post("/api/v1/jobs", &request)
        .await
        .problem(409, "request_id_taken", "other content");
    let both = server
        .request(Method::POST, "/api/v1/jobs")
        .header("idempotency-key", "other")
        .json(&request);
    server
        .send(both)
        .await
        .problem(400, "bad_value", "two names for one request");
    // Without a request id each request is a job of its own.
    let other = server.post("/api/v1/jobs", &new_job()).await.expect(201);
    assert_ne!(other["id"], first["id"]);
    assert_eq!(
        server.get("/api/v1/jobs").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    server.stop().await;
}

#[tokio::test]
async fn a_retry_is_a_new_job_with_the_same_request_and_pressed_again_the_same() {
    let server = Server::start().await.with_procedure().await;
    let mut request = new_job();
    request["request_id"] = json!("MES-4711");
    request["priority"] = json!(7);
    let old = server.post("/api/v1/jobs", &request).await.expect(201);
    assert_eq!(
        (&old["retry_of"], &old["retry_reason"]),
        (&json!(null), &json!(null))
    );
    let path = format!("/api/v1/jobs/{}", old["id"].as_str().unwrap());
    let retry = format!("{path}/retry");
    let why = json!({ "reason": "plug was loose" });
    server
        .post(&retry, &why)
        .await
        .problem(409, "state_conflict", "it is open");
    server
        .post(&format!("{path}/cancel"), &json!({ "reason": "x" }))
        .await
        .expect(200);
    server
        .post(&retry, &json!({ "reason": "" }))
        .await
        .problem(400, "bad_value", "no reason");
    let new = server.post(&retry, &why).await.expect(201);
    assert_ne!(new["id"], old["id"]);
    assert_eq!(
        (&new["retry_of"], &new["retry_reason"]),
        (&old["id"], &json!("plug was loose"))
    );
    for same in [
        "kind",
        "vin",
        "ecu",
        "procedure",
        "artifacts",
        "parameters",
        "priority",
    ] {
        assert_eq!(new[same], old[same], "{same}");
    }
    assert_eq!(new["state"], "queued");
    let again = server
        .post(&retry, &json!({ "reason": "pressed twice" }))
        .await
        .expect(200);
    assert_eq!(
        (&again["id"], &again["retry_reason"]),
        (&new["id"], &new["retry_reason"])
    );
    // A third try is a retry of the second one.
    let second = format!("/api/v1/jobs/{}", new["id"].as_str().unwrap());
    server
        .post(&format!("{second}/cancel"), &json!({ "reason": "x" }))
        .await
        .expect(200);
    let third = server.post(&format!("{second}/retry"), &why).await.expect(201);
    assert_eq!(third["retry_of"], new["id"]);
    let unknown = format!("/api/v1/jobs/{}/retry", uuid::Uuid::from_u128(5));
    server
        .post(&unknown, &why)
        .await
        .problem(404, "not_found", "an unknown job");
    server.stop().await;
}

#[tokio::test]
async fn a_retry_of_a_job_that_timed_out_has_no_deadline_in_the_past() {
    let server = Server::start().await.with_procedure().await;
    let mut request = new_job();
    request["deadline"] = json!(fleet_clock::wall_now().to_string());
    let old = server.post("/api/v1/jobs", &request).await.expect(201);
    let path = format!("/api/v1/jobs/{}", old["id"].as_str().unwrap());
    server.until(&path, |job| job["state"] == "timed_out").await;
    let new = server
        .post(&format!("{path}/retry"), &json!({ "reason": "bench was off" }))
        .await
        .expect(201);
    assert_eq!(
        (&new["deadline"], &new["state"]),
        (&json!(null), &json!("queued"))
    );
    server.stop().await;
}

#[tokio::test]
async fn jobs_are_found_by_a_vin_or_a_part_of_one() {
    let server = Server::start().await.with_procedure().await;
    let other = "WDB1110101A000002";
    for vin in [VIN, other, other] {
        let mut request = new_job();
        request["vin"] = json!(vin);
        server.post("/api/v1/jobs", &request).await.expect(201);
    }
    for (vin, count) in [(VIN, 1), (other, 2), ("000002", 2), ("1A0", 3), ("ZZZ", 0)] {
        let found = server.get(&format!("/api/v1/jobs?vin={vin}")).await.expect(200);
        assert_eq!(found["items"].as_array().unwrap().len(), count, "{vin}");
    }
    for bad in ["", "1A", "1AO", "1a0", "1%25A", "WDB1110101A0000023"] {
        server
            .get(&format!("/api/v1/jobs?vin={bad}"))
            .await
            .problem(400, "bad_value", bad);
    }
    server.stop().await;
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition() {
    let server = Server::start().await.with_procedure().await;
    for _ in 0..5 {
        server.post("/api/v1/jobs", &new_job()).await.expect(201);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server
            .get(&format!("/api/v1/jobs?limit=2{cursor}"))
            .await
            .expect(200);
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|job| job["id"].to_string()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), all), (5, 5));
    server.stop().await;
}

#[tokio::test]
async fn a_queued_job_is_called_back_at_once_and_only_once() {
    let server = Server::start().await.with_procedure().await;
    let job = server.post("/api/v1/jobs", &new_job()).await.expect(201);
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
    let cancel = format!("{path}/cancel");
    server
        .post(&cancel, &json!({ "reason": "  " }))
        .await
        .problem(400, "bad_value", "no reason");
    server
        .post(&cancel, &json!({}))
        .await
        .problem(422, "bad_shape", "no reason at all");
    server
        .post(&format!("{path}/take-over"), &json!({ "reason": "x" }))
        .await
        .problem(409, "state_conflict", "queued");
    let canceled = server
        .post(&cancel, &json!({ "reason": "wrong vehicle" }))
        .await
        .expect(200);
    assert_eq!(canceled["state"], "canceled");
    server.post(&cancel, &json!({ "reason": "again" })).await.problem(
        409,
        "state_conflict",
        "canceled already",
    );
    server.stop().await;
}

fn accepted(entry: &DesiredJob, list: &fleet_wire::command::Commands) -> EventBody {
    EventBody::JobAccepted(JobAccepted {
        of: of(entry),
        offer_id: entry.offer_id.expect("an offer"),
        store_generation: list.store_generation,
        desired_version: list.desired_version,
    })
}

fn of(entry: &DesiredJob) -> AttemptRef {
    AttemptRef {
        job_id: entry.job_id,
        attempt: entry.attempt,
        fence: entry.fence,
    }
}

fn step(entry: &DesiredJob) -> EventBody {
    let now = fleet_clock::wall_now();
    EventBody::StepFinished(StepFinished {
        of: of(entry),
        index: 0,
        step: "ubat".to_owned(),
        name: "Supply voltage".to_owned(),
        outcome: Outcome::Passed,
        started_at: now,
        finished_at: now,
        duration_ms: 12,
        retries: 1,
        nrc: Some(0x78),
        detail: None,
        measurements: vec![Measurement {
            name: "ubat".to_owned(),
            raw: "0514".to_owned(),
            value: Measured::Number(13.0),
            unit: Some("V".to_owned()),
            limits: Limits {
                ge: Some(12.0),
                le: Some(15.0),
                ..Limits::default()
            },
            outcome: Outcome::Passed,
            marginal: false,
        }],
    })
}

fn finished(entry: &DesiredJob, record: String) -> EventBody {
    EventBody::JobFinished(JobFinished {
        of: of(entry),
        verdict: Verdict::Passed,
        reason_code: "ok".to_owned(),
        detail: None,
        software: [("BCM".to_owned(), "3.3.2".to_owned())].into(),
        record: Some(record),
    })
}

#[tokio::test]
async fn a_job_is_offered_accepted_run_and_finished_with_a_verified_record() {
    let server = Server::start().await.with_procedure().await;
    let key = SigningKey::from_bytes(&[7; 32]);
    let mut bench = Bench::connect(&server, "bench-1").await;
    bench.public_key = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
    let answer = bench.begin().await;
    let job = server.post("/api/v1/jobs", &new_job()).await.expect(201);
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());

    let list = bench.list(|list| !list.jobs.is_empty()).await;
    let entry = list.jobs[0].clone();
    assert_eq!(list.store_generation, answer.store_generation);
    assert_eq!(entry.state, DesiredState::Offered);
    assert!(entry.offer_id.is_some() && entry.attempt == 1 && entry.fence >= 1);
    let document = entry.job.as_ref().expect("an offer says what to do");
    assert_eq!(document.vin.as_str(), VIN);
    let procedure = server.get(&document.procedure.path).await;
    assert_eq!(
        procedure.status, 200,
        "the path in the list leads to the procedure"
    );

    bench.send(&accepted(&entry, &list)).await;
    let list = bench
        .list(|list| list.jobs.iter().any(|job| job.state == DesiredState::Accepted))
        .await;
    assert!(list.desired_version > 0 && list.jobs[0].job.is_none());
    bench
        .send(&EventBody::JobStarted(JobStarted {
            of: of(&entry),
            steps_total: 9,
        }))
        .await;
    bench.send(&step(&entry)).await;
    let run = server
        .until(&format!("{path}/run"), |run| run["steps"][0].is_object())
        .await;
    assert_eq!(run["job"]["state"], "running");
    assert_eq!(run["steps"][0]["measurements"][0]["limits"]["ge"], 12.0);
    server
        .post(&format!("{path}/cancel"), &json!({ "reason": "x" }))
        .await
        .problem(409, "state_conflict", "running");

    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode("{\"alg\":\"EdDSA\"}"),
        URL_SAFE_NO_PAD.encode("{}")
    );
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).to_bytes());
    bench
        .send(&finished(&entry, format!("{signed}.{signature}")))
        .await;
    let job = server.until(&path, |job| job["state"] == "finished").await;
    assert_eq!(
        (&job["verdict"], &job["software"]["BCM"]),
        (&json!("passed"), &json!("3.3.2"))
    );
    let run = server.get(&format!("{path}/run")).await.expect(200);
    assert_eq!(run["record"]["verified"], true, "{run}");
    bench.list(|list| list.jobs.is_empty()).await;
    let bench = server.get("/api/v1/benches/bench-1").await.expect(200);
    assert_eq!(bench["open_jobs"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn an_offer_that_is_called_back_is_withdrawn_until_the_bench_confirms() {
    let server = Server::start().await.with_procedure().await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    bench.begin().await;
    let job = server.post("/api/v1/jobs", &new_job()).await.expect(201);
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
    let offer = bench.list(|list| !list.jobs.is_empty()).await;
    let state = server
        .post(&format!("{path}/cancel"), &json!({ "reason": "x" }))
        .await
        .expect(200);
    assert_eq!(
        state["state"], "withdrawing",
        "the bench may have taken it already"
    );
    let list = bench
        .list(|list| list.desired_version > offer.desired_version)
        .await;
    assert!(list.jobs.is_empty());
    bench
        .sync_with(|sync| {
            sync.store_generation = Some(list.store_generation);
            sync.desired_version = list.desired_version;
        })
        .await;
    server.until(&path, |job| job["state"] == "canceled").await;
    server.stop().await;
}
