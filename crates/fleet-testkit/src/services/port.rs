//! Ports that stay ours while their service is down.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context as _, bail};

/// Below the kernel's own choice for outgoing connections (32768 and up by default), which would take a port of a
/// service that is down.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port of the loopback address. A lock file keeps every other user of this crate from choosing it.
#[derive(Debug)]
pub(super) struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Chooses a port that nobody listens on and nobody else has chosen.
    pub(super) fn choose() -> anyhow::Result<Self> {
        static CHOSEN: AtomicU16 = AtomicU16::new(0);
        let folder = std::env::temp_dir().join("vds-fleet-ports");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // Programs that run at the same time begin their search at different places.
        let process = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or_default();
        for _ in 0..COUNT {
            let step = CHOSEN.fetch_add(1, Ordering::Relaxed) % COUNT;
            let offset = (u32::from(process) * 89 + u32::from(step)) % u32::from(COUNT);
            let number = FIRST + u16::try_from(offset).unwrap_or_default();
            let path = folder.join(number.to_string());
            let open = OpenOptions::new().create(true).append(true).open(path);
            // Another user's lock file cannot be opened: that port is theirs.
            let Ok(lock) = open else { continue };
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("no port is free between {FIRST} and {}", FIRST + COUNT)
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }

    pub(super) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_port_is_free_and_is_not_chosen_twice() {
        let ports: Vec<_> = (0..50).map(|_| Port::choose().expect("a port")).collect();
        let mut numbers: Vec<_> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), ports.len());
        let _listener = TcpListener::bind(ports[0].address()).expect("nobody listens there");
    }
}
