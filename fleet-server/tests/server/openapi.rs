use super::support::Server;

#[test]
fn the_committed_document_is_the_one_that_the_routes_make() {
    let committed = include_str!("../../../docs/openapi.json");
    assert!(
        committed == fleet_server::openapi_text(),
        "docs/openapi.json is old: run `cargo xtask generate`, or `fleet-server openapi > docs/openapi.json`"
    );
}

#[tokio::test]
async fn the_server_serves_its_document_and_tells_how_it_is() {
    let server = Server::start().await;
    let document = server.get("/api/v1/openapi.json").await.expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(server.get("/healthz").await.status, 200);
    let ready = server.get("/readyz").await.expect(200);
    assert_eq!(ready["ready"], true, "{ready}");
    let status = server.get("/api/v1/status").await.expect(200);
    assert_eq!(
        (&status["plant"], &status["time_zone"]),
        (&"plant-1".into(), &"UTC".into())
    );
    let metrics = String::from_utf8(server.get("/metrics").await.bytes).unwrap();
    for name in [
        "vds_ingest_batch_seconds",
        "vds_ledger_outstanding",
        "vds_jobs{state=\"queued\"} 0",
        "vds_benches{state=\"online\"} 0",
        "vds_outbox_waiting",
        "vds_stream_readers",
        "vds_slots_owned 16",
    ] {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_page_has_a_strict_policy_and_api_paths_never_fall_into_it() {
    let server = Server::start().await;
    let page = server.get("/benches/some-place").await;
    assert_eq!(page.status, 200);
    let policy = page
        .headers
        .get("content-security-policy")
        .unwrap()
        .to_str()
        .unwrap();
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    server
        .get("/api/v1/nothing")
        .await
        .problem(404, "not_found", "an unknown API path");
    server
        .get("/assets/nothing.js")
        .await
        .problem(404, "not_found", "a file that is not there");
}
