//! Bad input gets a problem document that says what is wrong, never a 500.

use reqwest::Method;
use serde_json::json;

use super::support::{ECU, PROCEDURE, Server, VIN, new_job};

#[tokio::test]
async fn bad_queries_and_ids_are_named() {
    let server = Server::start().await;
    let unknown = "01890000-0000-7000-8000-000000000001";
    for (path, status, code) in [
        ("/api/v1/benches?limit=0", 400, "bad_value"),
        ("/api/v1/benches?limit=1001", 400, "bad_value"),
        ("/api/v1/benches?limit=-1", 400, "bad_query"),
        ("/api/v1/benches?limit=abc", 400, "bad_query"),
        ("/api/v1/benches?state=sleeping", 400, "bad_query"),
        ("/api/v1/benches?nonsense=1", 400, "bad_query"),
        ("/api/v1/benches?cursor=%7Bnonsense", 400, "bad_cursor"),
        ("/api/v1/jobs?cursor=nonsense", 400, "bad_cursor"),
        ("/api/v1/dead-letters?cursor=nonsense", 400, "bad_cursor"),
        ("/api/v1/alarms?cursor=nonsense", 400, "bad_cursor"),
        ("/api/v1/outbox?after=18446744073709551615", 400, "bad_cursor"),
        ("/api/v1/outbox?after=99999999999999999999999", 400, "bad_query"),
        ("/api/v1/stream?since=nonsense", 400, "bad_cursor"),
        ("/api/v1/stream?since=-1", 400, "bad_cursor"),
        ("/api/v1/jobs?state=queued,nonsense", 400, "bad_value"),
        ("/api/v1/jobs?vin=short", 400, "bad_value"),
        ("/api/v1/jobs?device=a%2Fb", 400, "bad_id"),
        ("/api/v1/benches/a%20b", 400, "bad_id"),
        ("/api/v1/benches/%ff", 400, "bad_id"),
        ("/api/v1/benches/unknown", 404, "not_found"),
        ("/api/v1/benches/unknown/ledger", 404, "not_found"),
        ("/api/v1/jobs/not-a-uuid", 400, "bad_id"),
        (&format!("/api/v1/jobs/{unknown}"), 404, "not_found"),
        (&format!("/api/v1/jobs/{unknown}/run"), 404, "not_found"),
        (&format!("/api/v1/jobs/{unknown}/run?attempt=x"), 400, "bad_query"),
        ("/api/v1/procedures/..%2F..%2Fetc/passwd", 400, "bad_id"),
        ("/api/v1/procedures/unknown/1", 404, "not_found"),
        ("/api/v1/artifacts/unknown/1", 404, "not_found"),
        ("/api/v1/artifacts/.hidden/1", 400, "bad_id"),
    ] {
        server.get(path).await.problem(status, code, path);
    }
    // Odd, but nothing is wrong with it.
    assert_eq!(server.get("/api/v1/benches?q=%00%27%22%25_").await.status, 200);
    server
        .send(server.request(Method::DELETE, "/api/v1/jobs"))
        .await
        .problem(405, "method_not_allowed", "DELETE");
    server.stop().await;
}

#[tokio::test]
async fn bad_bodies_are_named() {
    let server = Server::start_with(|config| config.http.max_body_bytes = 16 * 1024)
        .await
        .with_procedure()
        .await;
    let post = |body: &str| {
        server
            .request(Method::POST, "/api/v1/jobs")
            .header("content-type", "application/json")
            .body(body.to_owned())
    };
    server
        .send(post("{\"kind\":"))
        .await
        .problem(400, "bad_json", "JSON that is cut");
    server
        .send(post("\u{0}"))
        .await
        .problem(400, "bad_json", "no JSON at all");
    server.send(post("[]")).await.problem(422, "bad_shape", "a list");
    server
        .send(post(&" ".repeat(20_000)))
        .await
        .problem(413, "too_large", "a large body");
    let untyped = server
        .request(Method::POST, "/api/v1/jobs")
        .body(new_job().to_string());
    server
        .send(untyped)
        .await
        .problem(415, "wrong_content_type", "no content type");

    for (field, value, status, code) in [
        ("nonsense", json!(1), 422, "bad_shape"),
        ("kind", json!("dance"), 422, "bad_shape"),
        ("vin", json!(7), 422, "bad_shape"),
        ("vin", json!("WDB1110101A00000I"), 400, "bad_value"),
        ("ecu", json!(""), 400, "bad_value"),
        ("ecu", json!("ESP"), 400, "bad_value"),
        ("device", json!("a/b"), 400, "bad_id"),
        ("start_within_s", json!(0), 400, "bad_value"),
        ("start_within_s", json!(4_294_967_296_u64), 422, "bad_shape"),
        ("deadline", json!("tomorrow"), 422, "bad_shape"),
        ("request_id", json!("x".repeat(200)), 400, "bad_value"),
        (
            "procedure",
            json!({ "id": "unknown", "version": "1" }),
            422,
            "unknown_procedure",
        ),
        ("procedure", json!({ "id": "eol.test" }), 422, "bad_shape"),
        (
            "artifacts",
            json!([{ "input": "image", "name": "x", "version": "1" }]),
            422,
            "unknown_artifact",
        ),
        ("parameters", json!({ "unwanted": "1" }), 422, "wrong_inputs"),
    ] {
        let mut job = new_job();
        job[field] = value.clone();
        server
            .post("/api/v1/jobs", &job)
            .await
            .problem(status, code, &format!("{field} = {value}"));
    }
    let jobs = server.get("/api/v1/jobs").await.expect(200);
    assert_eq!(jobs["items"], json!([]), "nothing of that was recorded");
    server.stop().await;
}

#[tokio::test]
async fn a_procedure_that_does_not_compile_is_refused_with_line_and_column() {
    let server = Server::start().await;
    let path = "/api/v1/procedures/eol.test/1.0";
    let refused = server
        .put(path, "schema: proc/1\nid: eol.test\nnonsense: true\n")
        .await;
    refused.problem(422, "procedure_invalid", "a procedure with an unknown key");
    let problem = refused.json();
    let first = &problem["diagnostics"][0];
    assert!(first["line"].as_u64().is_some_and(|line| line >= 1), "{problem}");
    assert!(
        first["column"].as_u64().is_some_and(|column| column >= 1),
        "{problem}"
    );
    assert!(
        first["message"]
            .as_str()
            .is_some_and(|message| !message.is_empty()),
        "{problem}"
    );
    server
        .put(path, vec![0xff, 0xfe])
        .await
        .problem(400, "bad_body", "no UTF-8");
    server
        .put("/api/v1/procedures/other/1.0", PROCEDURE)
        .await
        .problem(400, "bad_value", "another name");
    server
        .put("/api/v1/procedures/eol.test/2.0", PROCEDURE)
        .await
        .problem(400, "bad_value", "another version");
    assert_eq!(
        server.get("/api/v1/procedures").await.expect(200)["items"],
        json!([])
    );
    server.stop().await;
}

#[tokio::test]
async fn security_access_is_refused_for_anything_but_an_open_job() {
    let server = Server::start_with(|config| {
        std::fs::create_dir_all(&config.data_dir).unwrap();
        let path = config.data_dir.join("secrets.toml");
        std::fs::write(&path, format!("{ECU} = \"4a656665\"\n")).unwrap();
        config.signer_secrets = Some(path);
    })
    .await
    .with_procedure()
    .await;
    let job = server.post("/api/v1/jobs", &new_job()).await.expect(201);
    let ask = |field: &str, value: serde_json::Value| {
        let mut request = json!({ "ecu": ECU, "level": 1, "seed": "00", "vin": VIN, "job_id": job["id"] });
        request[field] = value;
        request
    };
    for (request, status, code) in [
        (ask("seed", json!("xyz")), 400, "bad_value"),
        (ask("seed", json!("")), 400, "bad_value"),
        (ask("level", json!(2)), 400, "bad_value"),
        (ask("level", json!(256)), 422, "bad_shape"),
        (ask("vin", json!("x")), 400, "bad_value"),
        (
            ask("job_id", json!("01890000-0000-7000-8000-000000000001")),
            404,
            "not_found",
        ),
        (ask("nonsense", json!(1)), 422, "bad_shape"),
        // The job is queued: no bench has it.
        (ask("level", json!(1)), 409, "job_not_open"),
    ] {
        let answer = server.post("/api/v1/security-access", &request).await;
        answer.problem(status, code, &request.to_string());
        assert!(!String::from_utf8_lossy(&answer.bytes).contains("4a656665"));
    }
    server.stop().await;
}
