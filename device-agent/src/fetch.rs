//! Procedures and files by HTTP: resumed where a transfer broke off, and checked as a whole.
//!
//! A file lies in the cache under its SHA-256, so a name says what is in it. It gets that name only after its
//! size and hash were compared, and both are compared again whenever it is used: a disk can rot.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet_domain::error_chain;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::fs::{self, OpenOptions};
use tokio::io::AsyncWriteExt as _;

/// Longest silence of the server within one transfer.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A file that a job names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Path on the server.
    pub path: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: String,
    /// Its size, bytes, where the job says it.
    pub size: Option<u64>,
    /// Largest size taken, bytes.
    pub at_most: u64,
}

/// Why a file is not here.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server can't be reached, or the transfer broke off.
    #[error("{path} can't be fetched")]
    Transfer {
        /// The path.
        path: String,
        /// What the client says.
        #[source]
        source: reqwest::Error,
    },
    /// The transfer ended early; what came is kept and the next one goes on from there.
    #[error("{path} broke off after {have} bytes")]
    Truncated {
        /// The path.
        path: String,
        /// Bytes here.
        have: u64,
    },
    /// The server answered with another status than 200 or 206.
    #[error("the server answers {status} for {path}")]
    Status {
        /// The path.
        path: String,
        /// The status.
        status: StatusCode,
    },
    /// The file has another size than the job says, or is larger than allowed.
    #[error("{path} has {found} bytes, the job says {expected}")]
    Size {
        /// The path.
        path: String,
        /// As found, or as announced.
        found: u64,
        /// As expected, or the limit.
        expected: u64,
    },
    /// The file has another hash than the job says.
    #[error("{path} has SHA-256 {found}, the job says {expected}")]
    Hash {
        /// The path.
        path: String,
        /// As found.
        found: String,
        /// As expected.
        expected: String,
    },
    /// The cache can't be written or read.
    #[error("file {file} of the cache can't be used")]
    Disk {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl FetchError {
    /// Whether the same request can succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transfer { .. } | Self::Truncated { .. } | Self::Disk { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error()
                    || *status == StatusCode::REQUEST_TIMEOUT
                    || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Size { .. } | Self::Hash { .. } => false,
        }
    }
}

/// The HTTP client of an agent: bounded waits, no bound on the length of a whole transfer.
///
/// # Errors
/// When the TLS or resolver part of the client can't be set up.
pub fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .user_agent(concat!("device-agent/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Fetches from one server into one folder.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Client,
    server: String,
    cache: PathBuf,
}

impl Fetcher {
    /// `server` is its base URL without a slash at the end.
    pub fn new(client: Client, server: String, cache: PathBuf) -> Self {
        Self {
            client,
            server,
            cache,
        }
    }

    /// The bytes of a file, from the cache or the server, size and hash checked. Transient faults are tried again
    /// with growing pauses until the future is dropped.
    ///
    /// Cancel-safe: what was transferred stays, and the next call goes on from there.
    ///
    /// # Errors
    /// The first [`FetchError`] that is not transient.
    pub async fn fetch(&self, wanted: &Wanted) -> Result<Vec<u8>, FetchError> {
        let mut backoff = doip::Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        loop {
            match self.fetch_once(wanted).await {
                Err(error) if error.is_transient() => {
                    tracing::warn!(path = wanted.path, error = %error_chain(&error), "trying again");
                    tokio::time::sleep(backoff.next_pause()).await;
                }
                result => return result,
            }
        }
    }

    /// One try. A file of the wrong hash is removed, and fetched once more from the start: the part that was there
    /// before may have been the wrong one.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn fetch_once(&self, wanted: &Wanted) -> Result<Vec<u8>, FetchError> {
        let whole = self.cache.join(&wanted.sha256);
        if let Some(bytes) = read(&whole).await? {
            if check(wanted, &bytes).is_ok() {
                return Ok(bytes);
            }
            tracing::error!(file = %whole.display(), "a file of the cache has changed on the disk: fetched again");
            remove(&whole).await?;
        }
        let part = self.cache.join(format!("{}.part", wanted.sha256));
        let resumed = self.transfer(wanted, &part).await?;
        match self.complete(wanted, &part, &whole).await {
            Err(FetchError::Hash { .. }) if resumed => {
                self.transfer(wanted, &part).await?;
                self.complete(wanted, &part, &whole).await
            }
            result => result,
        }
    }

    /// Brings `part` to its full length. Says whether bytes of an earlier transfer are in it.
    async fn transfer(&self, wanted: &Wanted, part: &Path) -> Result<bool, FetchError> {
        let disk = disk(part);
        fs::create_dir_all(&self.cache).await.map_err(&disk)?;
        let mut have = fs::metadata(part).await.map_or(0, |found| found.len());
        if have > 0 && wanted.size == Some(have) {
            return Ok(true);
        }
        let transfer = |source: reqwest::Error| FetchError::Transfer {
            path: wanted.path.clone(),
            source: source.without_url(),
        };
        let mut request = self.client.get(format!("{}{}", self.server, wanted.path));
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
        }
        let mut response = request.send().await.map_err(transfer)?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(&response, have) => {}
            StatusCode::OK => have = 0,
            // The part is no beginning of this file, or as long as it: begin again.
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT if have > 0 => {
                remove(part).await?;
                return Err(FetchError::Truncated {
                    path: wanted.path.clone(),
                    have: 0,
                });
            }
            status => {
                return Err(FetchError::Status {
                    path: wanted.path.clone(),
                    status,
                });
            }
        }
        let resumed = have > 0;
        let announced = response.content_length().map(|more| have.saturating_add(more));
        let most = wanted.size.unwrap_or(wanted.at_most).min(wanted.at_most);
        let too_large = |found| FetchError::Size {
            path: wanted.path.clone(),
            found,
            expected: most,
        };
        if let Some(bytes) = announced.filter(|bytes| *bytes > most) {
            remove(part).await?;
            return Err(too_large(bytes));
        }
        let mut file = OpenOptions::new();
        let file = file.create(true).write(true).append(resumed).truncate(!resumed);
        let mut file = file.open(part).await.map_err(&disk)?;
        while let Some(chunk) = response.chunk().await.map_err(transfer)? {
            have = have.saturating_add(chunk.len() as u64);
            if have > most {
                remove(part).await?;
                return Err(too_large(have));
            }
            file.write_all(&chunk).await.map_err(&disk)?;
            // Kept whatever comes next: a broken transfer goes on from here.
            file.flush().await.map_err(&disk)?;
        }
        file.sync_all().await.map_err(&disk)?;
        if wanted.size.or(announced).is_some_and(|size| have < size) {
            return Err(FetchError::Truncated {
                path: wanted.path.clone(),
                have,
            });
        }
        Ok(resumed)
    }

    async fn complete(&self, wanted: &Wanted, part: &Path, whole: &Path) -> Result<Vec<u8>, FetchError> {
        let bytes = read(part).await?.unwrap_or_default();
        if let Err(error) = check(wanted, &bytes) {
            remove(part).await?;
            return Err(error);
        }
        fs::rename(part, whole).await.map_err(disk(whole))?;
        Ok(bytes)
    }
}

fn starts_at(response: &Response, have: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE);
    let range = range.and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}

fn check(wanted: &Wanted, bytes: &[u8]) -> Result<(), FetchError> {
    let found = bytes.len() as u64;
    if let Some(expected) = wanted.size.filter(|size| *size != found) {
        return Err(FetchError::Size {
            path: wanted.path.clone(),
            found,
            expected,
        });
    }
    let found = hex::encode(Sha256::digest(bytes));
    if found == wanted.sha256 {
        return Ok(());
    }
    Err(FetchError::Hash {
        path: wanted.path.clone(),
        found,
        expected: wanted.sha256.clone(),
    })
}

fn disk(file: &Path) -> impl Fn(io::Error) -> FetchError + '_ {
    move |source| FetchError::Disk {
        file: file.to_owned(),
        source,
    }
}

async fn read(file: &Path) -> Result<Option<Vec<u8>>, FetchError> {
    match fs::read(file).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(disk(file)(error)),
    }
}

async fn remove(file: &Path) -> Result<(), FetchError> {
    match fs::remove_file(file).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk(file)(error)),
        _ => Ok(()),
    }
}
