//! A server in this process and a client that checks every answer against `docs/openapi.json`.

use std::sync::LazyLock;
use std::time::Duration;

use fleet_server::App;
use fleet_server::config::Config;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest wait for something that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A vehicle.
pub(crate) const VIN: &str = "WDB1110101A000001";

/// A procedure without files and parameters.
pub(crate) const PROCEDURE: &str = include_str!("../../../demo/procedures/eol.test.yaml");
/// Its name.
pub(crate) const PROCEDURE_ID: &str = "eol.test";
/// Its version.
pub(crate) const PROCEDURE_VERSION: &str = "1.0";
/// Its control unit.
pub(crate) const ECU: &str = "BCM";

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("docs/openapi.json is JSON")
});

/// A running server with a folder of its own.
pub(crate) struct Server {
    app: Option<App>,
    pub(crate) folder: TempDir,
    pub(crate) config: Config,
    pub(crate) http: String,
    pub(crate) mqtt_port: u16,
    pub(crate) client: reqwest::Client,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body as JSON of an answer with this status.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        self.json()
    }

    /// Checks that it is a problem document with this status and code.
    pub(crate) fn problem(&self, status: u16, code: &str, what: &str) {
        let problem = self.json();
        assert_eq!(self.status, status, "{what}: {problem}");
        assert_eq!(problem["code"], code, "{what}: {problem}");
        assert_eq!(problem["status"], status, "{what}: {problem}");
        let kind = self
            .headers
            .get("content-type")
            .and_then(|value| value.to_str().ok());
        assert_eq!(kind, Some("application/problem+json"), "{what}");
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty()),
            "{what}: {problem}"
        );
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config::for_folder("plant-1".parse().expect("a plant"), folder.path().join("data"));
        change(&mut config);
        let app = App::start(config.clone()).await.expect("the server starts");
        let endpoints = app.endpoints().clone();
        let port = endpoints
            .mqtt
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .expect("a port");
        Self {
            app: Some(app),
            folder,
            config,
            http: endpoints.http,
            mqtt_port: port,
            client: reqwest::Client::new(),
        }
    }

    /// Stops it in order and starts it again on the same data, with new ports.
    pub(crate) async fn restart(&mut self) {
        self.restart_after(|_| {}).await;
    }

    /// The same, with something done to the data folder while no server runs.
    pub(crate) async fn restart_after(&mut self, change: impl FnOnce(&std::path::Path)) {
        self.app.take().expect("it runs").stop().await;
        change(&self.config.data_dir);
        let app = App::start(self.config.clone())
            .await
            .expect("the server starts again");
        let endpoints = app.endpoints().clone();
        self.mqtt_port = endpoints
            .mqtt
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .expect("a port");
        self.http = endpoints.http;
        self.app = Some(app);
    }

    pub(crate) async fn stop(mut self) -> TempDir {
        self.app.take().expect("it runs").stop().await;
        self.folder
    }

    pub(crate) fn database(&self) -> std::path::PathBuf {
        self.config.data_dir.join("fleet.db")
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let request = request.build().expect("a request");
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = self.client.execute(request).await.expect("an answer");
        let answer = Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            bytes: response.bytes().await.expect("a body").to_vec(),
        };
        check(&method, &path, &answer);
        answer
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.http))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(self.request(Method::PUT, path).body(body)).await
    }

    /// Puts the procedure that the tests use.
    pub(crate) async fn with_procedure(self) -> Self {
        let path = format!("/api/v1/procedures/{PROCEDURE_ID}/{PROCEDURE_VERSION}");
        self.put(&path, PROCEDURE).await.expect(201);
        self
    }

    /// Asks again and again until the answer is as wanted.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = tokio::time::Instant::now() + SOON;
        loop {
            let answer = self.get(path).await;
            let value = answer.json();
            if answer.status == 200 && wanted(&value) {
                return value;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "{path} never became as wanted: {value}"
            );
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}

/// A job for the procedure of the tests.
pub(crate) fn new_job() -> Value {
    json!({
        "kind": "test", "vin": VIN, "ecu": ECU,
        "procedure": { "id": PROCEDURE_ID, "version": PROCEDURE_VERSION },
    })
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template
            .iter()
            .zip(&path)
            .all(|(t, p)| t.starts_with('{') || t == p)
}

/// Every answer is one that the document knows, of the shape that it says. None is a 500.
fn check(method: &Method, path: &str, answer: &Answer) {
    let text = String::from_utf8_lossy(&answer.bytes);
    assert_ne!(
        answer.status,
        StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
        "{method} {path}: {text}"
    );
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    let Some((_, item)) = paths.iter().find(|(template, _)| matches(template, path)) else {
        return;
    };
    let operation = &item[method.as_str().to_lowercase()];
    if operation.is_null() {
        assert_eq!(answer.status, 405, "{method} {path} is not in the document");
        return;
    }
    let response = &operation["responses"][answer.status.to_string()];
    assert!(
        !response.is_null(),
        "{method} {path}: status {} is not in the document: {text}",
        answer.status
    );
    let Some((kind, content)) = response["content"]
        .as_object()
        .and_then(|kinds| kinds.iter().next())
    else {
        return;
    };
    if !kind.ends_with("json") {
        return;
    }
    let mut schema = content["schema"].clone();
    schema["components"] = DOCUMENT["components"].clone();
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    let errors: Vec<String> = validator
        .iter_errors(&answer.json())
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(
        errors.is_empty(),
        "{method} {path} answers {text}, but: {errors:?}"
    );
}
