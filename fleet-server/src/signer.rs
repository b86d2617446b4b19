//! Keys for security access (ISO 14229-1, service 0x27). The secrets stay here; a bench never holds one.
//!
//! key = first 8 bytes of HMAC-SHA256(secret of the ECU, level byte, seed bytes).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a key.
const KEY_BYTES: usize = 8;

/// Why the secrets can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The file can't be read.
    #[error("secrets file {path} (signer.secrets_file) can't be read")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a table of names and hexadecimal secrets. What it holds is not repeated here.
    #[error(
        "secrets file {path} (signer.secrets_file) must be TOML with a line such as ESP = \"00112233…\" for each ECU: {what}"
    )]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong, without any secret.
        what: String,
    },
}

/// The secrets of the plant's ECUs.
#[derive(Clone, Default)]
pub struct Signer {
    secrets: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} secrets)", self.secrets.len())
    }
}

impl Signer {
    /// Reads the secrets.
    ///
    /// # Errors
    /// When the file can't be read or a secret is not hexadecimal; no secret stands in the message.
    pub fn from_file(path: &Path) -> Result<Self, SignerError> {
        use figment::providers::{Format, Toml};
        let text = std::fs::read_to_string(path).map_err(|source| SignerError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let malformed = |what: String| SignerError::Malformed {
            path: path.to_owned(),
            what,
        };
        let table: BTreeMap<String, String> = figment::Figment::from(Toml::string(&text))
            .extract()
            .map_err(|_| malformed("it is not such a table".to_owned()))?;
        let mut secrets = BTreeMap::new();
        for (ecu, secret) in table {
            match hex::decode(&secret) {
                Ok(bytes) if !bytes.is_empty() => secrets.insert(ecu, bytes),
                _ => return Err(malformed(format!("the secret of {ecu} is not hexadecimal"))),
            };
        }
        Ok(Self { secrets })
    }

    /// The key for a seed; `None` when there is no secret for the ECU.
    pub fn key(&self, ecu: &str, level: u8, seed: &[u8]) -> Option<Vec<u8>> {
        let secret = self.secrets.get(ecu)?;
        // HMAC takes keys of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
        mac.update(&[level]);
        mac.update(seed);
        Some(
            mac.finalize()
                .into_bytes()
                .iter()
                .copied()
                .take(KEY_BYTES)
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_head_of_the_mac_over_level_and_seed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.toml");
        std::fs::write(&path, "ESP = \"4a656665\"\n").unwrap();
        let signer = Signer::from_file(&path).unwrap();
        // RFC 4231, test case 2: key "Jefe", data "what do ya want for nothing?".
        let key = signer.key("ESP", b'w', b"hat do ya want for nothing?").unwrap();
        assert_eq!(hex::encode(key), "5bdcc146bf60754e");
        assert_eq!(signer.key("EPS", 1, b"x"), None);
    }

    #[test]
    fn a_bad_secret_is_refused_without_being_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.toml");
        std::fs::write(&path, "ESP = \"hunter2\"\n").unwrap();
        let refused = Signer::from_file(&path).unwrap_err().to_string();
        assert!(
            refused.contains("ESP") && !refused.contains("hunter2"),
            "{refused}"
        );
    }
}
