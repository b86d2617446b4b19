//! `endpoints.json`: where a running server can be reached. There while it runs, gone after a clean end. With everything
//! in the process it comes when the server is ready, else when it listens: then `/readyz` says whether it is.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fleet_domain::PlantId;
use serde::{Deserialize, Serialize};

/// Name of the file in the data folder.
pub const ENDPOINTS_FILE: &str = "endpoints.json";

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The server's process.
    pub pid: u32,
    /// Base URL of API and page.
    pub http: String,
    /// URL of the broker.
    pub mqtt: String,
    /// The plant.
    pub plant: PlantId,
    /// Version of the server.
    pub version: String,
}

/// Address to reach a listener at: the unspecified address stands for this machine.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => address.set_ip([127, 0, 0, 1].into()),
            SocketAddr::V6(_) => address.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
        }
    }
    address
}

impl Endpoints {
    /// The endpoints of this process.
    pub fn of(plant: &PlantId, http: SocketAddr, mqtt: String) -> Self {
        Self {
            pid: std::process::id(),
            http: format!("http://{}", reachable(http)),
            mqtt,
            plant: plant.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Writes the file in one step: a reader sees all of it or none.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn write(&self, folder: &Path) -> std::io::Result<EndpointsFile> {
        let path = folder.join(ENDPOINTS_FILE);
        let temp = folder.join(format!("{ENDPOINTS_FILE}.{}.tmp", self.pid));
        let mut file = std::fs::File::create(&temp)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&temp, &path)?;
        Ok(EndpointsFile(path))
    }
}

/// The written file; removed when dropped.
#[derive(Debug)]
pub struct EndpointsFile(PathBuf);

impl Drop for EndpointsFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(file = %self.0.display(), %error, "endpoints file could not be removed");
        }
    }
}
