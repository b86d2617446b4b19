//! Jobs for the real agents: one after the other on each vehicle, as long as the load runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fleet_testkit::{Api, ApiError, Workload, job_request};
use procedure::Kind;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// One request: the server may stand still.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// States from which a job does not move any more.
const FINAL: [&str; 6] = [
    "finished",
    "rejected",
    "canceled",
    "timed_out",
    "superseded",
    "taken_over",
];

#[derive(Debug, Default)]
struct Shared {
    quiet: AtomicBool,
    finished: AtomicU64,
    open: AtomicU64,
}

/// The posters. Dropping it ends them.
pub(super) struct Jobs {
    shared: Arc<Shared>,
    servers: watch::Sender<Vec<String>>,
    _posters: JoinSet<()>,
}

impl Jobs {
    /// Begins to post jobs on these vehicles.
    pub(super) fn start(workload: &Arc<Workload>, vins: Vec<String>, servers: Vec<String>) -> Self {
        let shared = Arc::new(Shared::default());
        let (servers, of_posters) = watch::channel(servers);
        let mut posters = JoinSet::new();
        for vin in vins {
            let poster = Poster {
                shared: Arc::clone(&shared),
                servers: of_posters.clone(),
                workload: Arc::clone(workload),
                vin,
                turn: 0,
            };
            posters.spawn(poster.run());
        }
        Self {
            shared,
            servers,
            _posters: posters,
        }
    }

    /// The servers that run now.
    pub(super) fn use_servers(&self, servers: Vec<String>) {
        self.servers.send_replace(servers);
    }

    /// Posts nothing new.
    pub(super) fn quiet(&self) {
        self.shared.quiet.store(true, Ordering::Relaxed);
    }

    /// Jobs that came to their end.
    pub(super) fn finished(&self) -> u64 {
        self.shared.finished.load(Ordering::Relaxed)
    }

    /// Jobs that have not.
    pub(super) fn open(&self) -> u64 {
        self.shared.open.load(Ordering::Relaxed)
    }
}

struct Poster {
    shared: Arc<Shared>,
    servers: watch::Receiver<Vec<String>>,
    workload: Arc<Workload>,
    vin: String,
    turn: usize,
}

impl Poster {
    async fn run(mut self) {
        let mut job: Option<String> = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match &job {
                Some(id) => {
                    if self.is_over(id).await {
                        job = None;
                        self.shared.open.fetch_sub(1, Ordering::Relaxed);
                        self.shared.finished.fetch_add(1, Ordering::Relaxed);
                    }
                }
                None if self.shared.quiet.load(Ordering::Relaxed) => {}
                None => {
                    job = self.post().await;
                    if job.is_some() {
                        self.shared.open.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Another server each time: they are replicas.
    fn api(&mut self) -> Option<Api> {
        let servers = self.servers.borrow();
        self.turn = self.turn.wrapping_add(1);
        let server = servers.get(self.turn % servers.len().max(1))?;
        Some(Api::new(server))
    }

    async fn is_over(&mut self, id: &str) -> bool {
        let Some(api) = self.api() else { return false };
        let path = format!("/api/v1/jobs/{id}");
        let asked = tokio::time::timeout(ANSWER_WITHIN, api.get(&path)).await;
        match asked {
            Ok(Ok(job)) => {
                if job["verdict"] == "in_doubt" && job["state"] == "finished" {
                    self.take_over(&api, id).await;
                }
                job["state"].as_str().is_some_and(|state| FINAL.contains(&state))
            }
            // An older database was put back.
            Ok(Err(error)) => error.status() == Some(404),
            Err(_) => false,
        }
    }

    /// Decides what a person would: the bench was killed while it worked, the next job looks at the vehicle anew.
    async fn take_over(&self, api: &Api, id: &str) {
        let reason = json!({ "reason": "the bench was killed; the work is done anew" });
        let path = format!("/api/v1/jobs/{id}/take-over");
        let _ = tokio::time::timeout(ANSWER_WITHIN, api.post(&path, &reason)).await;
    }

    async fn post(&mut self) -> Option<String> {
        let fitting: Vec<_> = self
            .workload
            .procedures
            .iter()
            .filter(|plan| plan.kind != Kind::Flash && self.workload.target(&self.vin, plan).is_some())
            .collect();
        let plan = *fitting.get(self.turn % fitting.len().max(1))?;
        let mut request = job_request(plan, &self.vin, None).ok()?;
        request["request_id"] = json!(format!("chaos-{}", fleet_clock::new_uuid()));
        let workload = Arc::clone(&self.workload);
        let api = self.api()?;
        let posted = tokio::time::timeout(ANSWER_WITHIN, api.post("/api/v1/jobs", &request)).await;
        match posted.ok()? {
            Ok(job) => job["id"].as_str().map(ToOwned::to_owned),
            Err(ApiError::Refused { status, problem, .. }) => {
                // The procedures are not there yet, or an older database has lost them.
                if (400..500).contains(&status) {
                    let upload = workload.upload_procedures(&api);
                    let _ = tokio::time::timeout(ANSWER_WITHIN * 2, upload).await;
                    self.free(&api, &problem).await;
                }
                None
            }
            Err(ApiError::Transport { .. }) => None,
        }
    }

    /// An earlier job in doubt holds the vehicle.
    async fn free(&self, api: &Api, _problem: &Value) {
        let path = format!("/api/v1/jobs?state=finished&vin={}&limit=100", self.vin);
        let Ok(Ok(jobs)) = tokio::time::timeout(ANSWER_WITHIN, api.get(&path)).await else {
            return;
        };
        for job in jobs["items"].as_array().into_iter().flatten() {
            if job["verdict"] == "in_doubt"
                && let Some(id) = job["id"].as_str()
            {
                self.take_over(api, id).await;
            }
        }
    }
}
