//! Where the broker is, and who we are there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

const DEFAULT_PORT: u16 = 1883;

/// Why an address can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Not an address of a broker.
    #[error(
        "{url:?} is not the address of a broker: write mqtt://HOST:PORT, for example mqtt://127.0.0.1:1883"
    )]
    Shape {
        /// What was given.
        url: String,
    },
    /// Encrypted connections are not made yet.
    #[error("mqtts:// is not supported yet: give the broker's plain listener, mqtt://HOST:PORT")]
    Encrypted,
    /// Secrets don't belong on a command line.
    #[error("the address holds a user name or a password: give them by --username and --password-file")]
    Secret,
    /// The file of the password can't be used.
    #[error("the password can't be read from {path}")]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file of the password holds nothing.
    #[error("{path} is empty: it must hold the password in its first line")]
    NoPassword {
        /// The file.
        path: PathBuf,
    },
}

/// User name and password. The password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    password: String,
}

impl Credentials {
    /// Reads the password from the first line of a file.
    ///
    /// # Errors
    /// When the file can't be read or its first line is empty.
    pub fn from_file(username: String, path: &Path) -> Result<Self, TargetError> {
        let text = std::fs::read_to_string(path).map_err(|source| TargetError::PasswordFile {
            path: path.to_owned(),
            source,
        })?;
        match text.lines().next() {
            Some(password) if !password.is_empty() => Ok(Self {
                username,
                password: password.to_owned(),
            }),
            _ => Err(TargetError::NoPassword {
                path: path.to_owned(),
            }),
        }
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name or address; an IPv6 address in its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Who we are there; none: anonymous.
    pub credentials: Option<Credentials>,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(url: &str) -> Result<Self, TargetError> {
        let shape = || TargetError::Shape { url: url.to_owned() };
        if url.contains('@') {
            return Err(TargetError::Secret);
        }
        if url.starts_with("mqtts:") || url.starts_with("ssl:") {
            return Err(TargetError::Encrypted);
        }
        let rest = url.strip_prefix("mqtt://").ok_or_else(shape)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| shape())?),
            _ => (rest, DEFAULT_PORT),
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let bad = |c: char| c.is_whitespace() || c == '/' || (c == ':' && !bracketed);
        if host.is_empty() || port == 0 || host.contains(bad) {
            return Err(shape());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            credentials: None,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mqtt://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_host_and_port() {
        for (url, host, port) in [
            ("mqtt://127.0.0.1:1884", "127.0.0.1", 1884),
            ("mqtt://broker.plant", "broker.plant", 1883),
            ("mqtt://[::1]:1883/", "[::1]", 1883),
            ("mqtt://[::1]", "[::1]", 1883),
        ] {
            let target: Target = url.parse().expect(url);
            assert_eq!((target.host.as_str(), target.port), (host, port), "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_to_write() {
        for url in [
            "",
            "localhost:1883",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://host:port",
            "mqtt://host:0",
            "mqtt://a b:1",
            "http://host:1",
            "mqtt://host:1/path",
            "mqtt://::1:1883",
        ] {
            let error = url.parse::<Target>().expect_err(url);
            assert!(error.to_string().contains("mqtt://HOST:PORT"), "{url}: {error}");
        }
        assert!(matches!(
            "mqtts://host:8883".parse::<Target>(),
            Err(TargetError::Encrypted)
        ));
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let error = "mqtt://user:hush@host:1883"
            .parse::<Target>()
            .expect_err("a secret");
        assert!(matches!(error, TargetError::Secret));
        assert!(!error.to_string().contains("hush"));
    }

    #[test]
    fn a_password_comes_from_a_file_and_is_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        std::fs::write(&file, "hush\n").expect("written");
        let credentials = Credentials::from_file("tool".to_owned(), &file).expect("read");
        assert_eq!(credentials.password(), "hush");
        assert!(!format!("{credentials:?}").contains("hush"));
        std::fs::write(&file, "\n").expect("written");
        let empty = Credentials::from_file("tool".to_owned(), &file).expect_err("empty");
        assert!(matches!(empty, TargetError::NoPassword { .. }));
        let missing = Credentials::from_file("tool".to_owned(), &folder.path().join("none"));
        assert!(matches!(missing, Err(TargetError::PasswordFile { .. })));
    }
}
