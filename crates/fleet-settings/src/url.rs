//! URLs of peers. A password in one is refused: it would stand in process lists, logs and backups.

/// Host and port of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Host name or address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl HostPort {
    /// Reads `host:port` or `[address]:port`.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let inner = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|inner| inner.contains(':'))?,
            None if host.contains(':') => return None,
            None => host,
        };
        let plain = !inner.is_empty()
            && !inner.contains(|c: char| c.is_whitespace() || c.is_control() || "/@?#[]%".contains(c));
        plain.then(|| Self {
            host: inner.to_owned(),
            port,
        })
    }
}

/// The parts of `scheme://[user@]host:port[/path]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerUrl<'a> {
    /// The scheme.
    pub scheme: &'a str,
    /// The user.
    pub user: Option<&'a str>,
    /// Host and port, or several with commas between them.
    pub hosts: &'a str,
    /// What follows the hosts, without the slash before it.
    pub path: &'a str,
}

/// Takes a URL apart.
///
/// # Errors
/// When it has a password, naming the setting that takes its place, or no `://`.
pub fn peer_url<'a>(text: &'a str, credentials_key: &str) -> Result<PeerUrl<'a>, String> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| "must be a URL with ://".to_owned())?;
    let refused = || {
        Err(format!(
            "must not hold a password: put user name and password into a file and name it by {credentials_key}"
        ))
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (Some(user), hosts),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.contains(':')) || path.contains('@') {
        return refused();
    }
    if path.to_ascii_lowercase().contains("password") || hosts.to_ascii_lowercase().contains("password") {
        return refused();
    }
    Ok(PeerUrl {
        scheme,
        user: user.filter(|user| !user.is_empty()),
        hosts,
        path,
    })
}
