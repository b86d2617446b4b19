//! The bench's Ed25519 key (RFC 8032): made at the first start, never leaves the bench.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};

use crate::crashsafe;

/// Name of the file in the data folder: 32 bytes, the seed.
pub const KEY_FILE: &str = "bench.key";

/// Why the bench has no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read or made.
    #[error("bench key {path} can't be read or made")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others may read the file.
    #[error("bench key {path} has mode {mode:03o}: others can read it; run chmod 600 on it")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file is not a key.
    #[error(
        "bench key {path} has {bytes} bytes, a key has 32: restore it from a backup, or move it away to get a new one"
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: usize,
    },
}

/// The key. Its secret half is in no `Debug` output and in no message.
pub struct BenchKey {
    key: SigningKey,
}

impl std::fmt::Debug for BenchKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BenchKey").field(&self.public()).finish()
    }
}

impl BenchKey {
    /// Reads the key of a data folder, or makes one.
    ///
    /// # Errors
    /// When the file is there but can't be used: a new key would orphan the bench's earlier records, so that
    /// is for a person to decide.
    pub fn load_or_make(data_dir: &Path) -> Result<Self, KeyError> {
        let path = data_dir.join(KEY_FILE);
        let io = |source| KeyError::Io {
            path: path.clone(),
            source,
        };
        let Some(bytes) = crashsafe::read(&path).map_err(io)? else {
            let seed = random_seed().map_err(io)?;
            crashsafe::replace(&path, &seed).map_err(io)?;
            return Ok(Self {
                key: SigningKey::from_bytes(&seed),
            });
        };
        let mode = fs::metadata(&path).map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Mode { path, mode });
        }
        let seed: [u8; 32] = bytes.as_slice().try_into().map_err(|_| KeyError::Length {
            path: path.clone(),
            bytes: bytes.len(),
        })?;
        Ok(Self {
            key: SigningKey::from_bytes(&seed),
        })
    }

    /// The public half, base64url without padding, as `AgentStarted` states it.
    pub fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.verifying_key().to_bytes())
    }

    /// A JWS in compact serialisation (RFC 7515) with `EdDSA` (RFC 8037) over `payload`.
    pub fn sign_jws(&self, payload: &[u8]) -> String {
        let header = serde_json::json!({ "alg": "EdDSA", "typ": "vds-result+json", "kid": self.public() });
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(payload)
        );
        let signature = self.key.sign(input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

/// Key material comes from the kernel: `fleet-clock`'s identifiers are unique, not secret.
fn random_seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}
