//! A small client of the server's REST API.

use std::time::Duration;

use serde_json::Value;

/// One request; uploads in tests are small.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a request had no usable answer.
#[derive(Debug)]
pub enum ApiError {
    /// No answer at all.
    Transport {
        /// Method and address.
        request: String,
        /// What the client says.
        source: reqwest::Error,
    },
    /// An answer that is not 2xx.
    Refused {
        /// Method and address.
        request: String,
        /// The status code.
        status: u16,
        /// The problem document (RFC 9457), or the text as a string.
        problem: Value,
    },
}

impl ApiError {
    /// The stable code of the problem document.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { problem, .. } => problem.get("code")?.as_str(),
            Self::Transport { .. } => None,
        }
    }

    /// The status code, when there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Transport { .. } => None,
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Transport { request, .. } => write!(f, "{request}: no answer"),
            Self::Refused {
                request,
                status,
                problem,
            } => write!(f, "{request}: {status} {problem}"),
        }
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Transport { source, .. } => Some(source),
            Self::Refused { .. } => None,
        }
    }
}

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    client: reqwest::Client,
}

impl Api {
    /// A client of the server at `base`, for example `http://127.0.0.1:8080`.
    ///
    /// # Panics
    /// Never in practice: building a client without TLS asks nothing of the system.
    pub fn new(base: &str) -> Self {
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build();
        Self {
            base: base.trim_end_matches('/').to_owned(),
            client: client.expect("a client without TLS needs nothing of the system"),
        }
    }

    /// The server's base address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `GET`; the answer as JSON (`null` when empty, a string when it is no JSON).
    ///
    /// # Errors
    /// No answer, or another status than 2xx.
    pub async fn get(&self, path: &str) -> Result<Value, ApiError> {
        let url = format!("{}{path}", self.base);
        answer(format!("GET {url}"), self.client.get(&url)).await
    }

    /// `POST` of a JSON document.
    ///
    /// # Errors
    /// No answer, or another status than 2xx.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        let url = format!("{}{path}", self.base);
        answer(format!("POST {url}"), self.client.post(&url).json(body)).await
    }

    /// `PUT` of bytes.
    ///
    /// # Errors
    /// No answer, or another status than 2xx.
    pub async fn put(&self, path: &str, content_type: &str, body: Vec<u8>) -> Result<Value, ApiError> {
        let url = format!("{}{path}", self.base);
        let request = self
            .client
            .put(&url)
            .header("content-type", content_type)
            .body(body);
        answer(format!("PUT {url}"), request).await
    }
}

async fn answer(request: String, builder: reqwest::RequestBuilder) -> Result<Value, ApiError> {
    let received = async {
        let response = builder.send().await?;
        Ok((response.status(), response.bytes().await?))
    };
    let (status, bytes) = match received.await {
        Ok(answer) => answer,
        Err(source) => return Err(ApiError::Transport { request, source }),
    };
    let value = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
    };
    if status.is_success() {
        Ok(value)
    } else {
        Err(ApiError::Refused {
            request,
            status: status.as_u16(),
            problem: value,
        })
    }
}
