//! Procedures and files of jobs: a version never changes, ranges, limits.

use reqwest::Method;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::support::{PROCEDURE, Server};

#[tokio::test]
async fn a_procedure_comes_back_as_the_same_bytes_and_never_changes() {
    let server = Server::start().await.with_procedure().await;
    let path = "/api/v1/procedures/eol.test/1.0";
    let got = server.get(path).await;
    assert_eq!(got.bytes, PROCEDURE.as_bytes());
    let sha256 = hex::encode(Sha256::digest(PROCEDURE));
    assert_eq!(got.headers["etag"], format!("\"{sha256}\""));
    let again = server.put(path, PROCEDURE).await.expect(200);
    assert_eq!(again["sha256"], sha256);
    server
        .put(path, format!("{PROCEDURE}\n# other bytes\n"))
        .await
        .problem(409, "version_taken", "other bytes");
    assert_eq!(
        server.get("/api/v1/procedures").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    server.stop().await;
}

#[tokio::test]
async fn a_file_is_fetched_whole_in_parts_and_by_hash() {
    let mut server = Server::start().await;
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let path = "/api/v1/artifacts/esp-app/2.1.0";
    let info = server.put(path, content.clone()).await.expect(201);
    let sha256 = hex::encode(Sha256::digest(&content));
    assert_eq!(
        (&info["sha256"], &info["size"]),
        (&json!(sha256), &json!(400_000))
    );
    server.put(path, content.clone()).await.expect(200);
    server
        .put(path, "other")
        .await
        .problem(409, "version_taken", "other bytes");

    let whole = server.get(path).await;
    assert!(whole.status == 200 && whole.bytes == content);
    assert_eq!(whole.headers["etag"], format!("\"{sha256}\""));
    let part = |range: &str| server.request(Method::GET, path).header("range", range);
    let tail = server.send(part("bytes=399996-")).await;
    assert_eq!((tail.status, tail.bytes.as_slice()), (206, &content[399_996..]));
    assert_eq!(tail.headers["content-range"], "bytes 399996-399999/400000");
    server
        .send(part("bytes=400000-"))
        .await
        .problem(416, "bad_range", "behind the end");
    let changed = part("bytes=10-").header("if-range", "\"another\"");
    assert_eq!(
        server.send(changed).await.status,
        200,
        "a part of another file is not given"
    );
    let known = server
        .request(Method::GET, path)
        .header("if-none-match", format!("\"{sha256}\""));
    assert_eq!(server.send(known).await.status, 304);

    server.restart().await;
    assert!(
        server.get(path).await.bytes == content,
        "it is there after a restart"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_file_over_the_limit_is_refused_and_leaves_nothing() {
    let server = Server::start_with(|config| config.http.max_artifact_bytes = 1024).await;
    server
        .put("/api/v1/artifacts/large/1", vec![0; 1025])
        .await
        .problem(413, "too_large", "1025 bytes");
    assert_eq!(
        server.get("/api/v1/artifacts").await.expect(200)["items"],
        json!([])
    );
    let folder = server.config.data_dir.join("artifacts");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    server.stop().await;
}
