//! Keys for security access. The bench never holds the secret; seeds and keys are in no log and no record.

use std::time::Duration;

use procedure::SignerError;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// Longest time of an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Who makes keys.
#[derive(Debug, Clone)]
pub enum Signer {
    /// The server.
    Backend {
        /// The client, shared with the rest of the agent.
        client: reqwest::Client,
        /// Base of the server's API, such as `http://127.0.0.1:8080`.
        url: String,
    },
    /// Another task of this process: simulations and tests.
    Task(mpsc::Sender<KeyRequest>),
}

/// A challenge for [`Signer::Task`].
#[derive(Debug)]
pub struct KeyRequest {
    /// Name of the control unit.
    pub ecu: String,
    /// Odd level.
    pub level: u8,
    /// The seed.
    pub seed: Vec<u8>,
    /// Where the key goes; `None` when there is none.
    pub reply: oneshot::Sender<Option<Vec<u8>>>,
}

#[derive(Serialize)]
struct Challenge<'a> {
    ecu: &'a str,
    level: u8,
    seed: String,
    vin: &'a str,
    job_id: &'a str,
}

#[derive(Deserialize)]
struct Key {
    key: String,
}

/// Whom the key is for.
pub(super) struct Subject<'a> {
    pub(super) ecu: &'a str,
    pub(super) vin: &'a str,
    pub(super) job_id: &'a str,
}

impl Signer {
    pub(super) async fn key(
        &self,
        subject: Subject<'_>,
        level: u8,
        seed: Vec<u8>,
    ) -> Result<Vec<u8>, SignerError> {
        let asked = async {
            match self {
                Self::Backend { client, url } => from_backend(client, url, &subject, level, &seed).await,
                Self::Task(tasks) => {
                    let (reply, answer) = oneshot::channel();
                    let ecu = subject.ecu.to_owned();
                    let gone = || "the signer's task has ended".to_owned();
                    tasks
                        .send(KeyRequest {
                            ecu,
                            level,
                            seed,
                            reply,
                        })
                        .await
                        .map_err(|_| gone())?;
                    answer
                        .await
                        .map_err(|_| gone())?
                        .ok_or_else(|| "no key for this control unit".to_owned())
                }
            }
        };
        match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(result) => result.map_err(|detail| SignerError { detail }),
            Err(_) => Err(SignerError {
                detail: format!("no answer within {TIMEOUT:?}"),
            }),
        }
    }
}

async fn from_backend(
    client: &reqwest::Client,
    url: &str,
    subject: &Subject<'_>,
    level: u8,
    seed: &[u8],
) -> Result<Vec<u8>, String> {
    let challenge = Challenge {
        ecu: subject.ecu,
        level,
        seed: hex::encode(seed),
        vin: subject.vin,
        job_id: subject.job_id,
    };
    let url = format!("{}/api/v1/security-access", url.trim_end_matches('/'));
    let response = client
        .post(url)
        .json(&challenge)
        .send()
        .await
        .map_err(|error| error.without_url().to_string())?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("the server answered {status}"));
    }
    // The body is not shown in an error: it may hold the key.
    let key: Key = response
        .json()
        .await
        .map_err(|_| "the server's answer holds no key".to_owned())?;
    hex::decode(key.key).map_err(|_| "the server's key is not hexadecimal".to_owned())
}
