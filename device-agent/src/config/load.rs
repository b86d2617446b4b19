//! Reads the settings by their table of keys.

use std::path::PathBuf;

use fleet_settings::{HostPort, Program, Reader, Settings, peer_url};

use super::{Broker, Config, KEYS};

impl Settings for Config {
    const PROGRAM: Program = Program {
        name: "device-agent",
        environment: super::ENV_PREFIX,
        keys: KEYS,
        lock_file: "agent.lock",
        // The bench's key lies there.
        folder_mode: 0o700,
    };

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let plant = reader.id("plant");
        let device = reader.id("device");
        let data_dir = reader.folder("data_dir");
        let station = reader.optional("station");
        let ecus = reader.names("ecus");
        let broker = broker(reader);
        let server_url = reader.parsed("server.url", server);
        let entity = reader.address("vehicle.entity");
        let tester_address = reader.parsed("vehicle.tester_address", tester_address);
        let most = reader.whole("spool.max_bytes");
        let free = reader.whole("spool.min_free_bytes");
        let telemetry = reader.telemetry();
        Some(Self {
            plant: plant?,
            device: device?,
            data_dir: data_dir?,
            station,
            ecus: ecus?,
            broker: broker?,
            server_url: server_url?,
            entity: entity?,
            tester_address: tester_address?,
            spool_max_bytes: most?,
            spool_min_free_bytes: free?,
            telemetry: telemetry?,
        })
    }

    fn printed(&self) -> String {
        self.to_toml()
    }
}

fn broker(reader: &mut Reader<'_>) -> Option<Broker> {
    let credentials_file = reader.optional("broker.credentials_file").map(PathBuf::from);
    let credentials = reader.credentials("broker.credentials_file", &[]);
    let address = match address(&reader.text("broker.url")?) {
        Ok(address) => address,
        Err(why) => {
            reader.fault("broker.url", why);
            return None;
        }
    };
    Some(Broker {
        address,
        credentials_file,
        credentials,
    })
}

fn address(text: &str) -> Result<HostPort, String> {
    let url = peer_url(text, "broker.credentials_file")?;
    match HostPort::parse(url.hosts) {
        _ if url.scheme == "mqtts" => Err(
            "TLS to the broker is not there yet: use mqtt://HOST:PORT in a network that you trust".to_owned(),
        ),
        Some(address) if url.scheme == "mqtt" && url.user.is_none() && url.path.is_empty() => Ok(address),
        _ => Err("must be mqtt://HOST:PORT".to_owned()),
    }
}

fn server(text: &str) -> Option<String> {
    let url = reqwest::Url::parse(text).ok()?;
    let whole = url.scheme() == "http" && url.host_str().is_some_and(|host| !host.is_empty());
    let bare = url.query().is_none() && url.fragment().is_none() && url.password().is_none();
    (whole && bare).then(|| text.trim_end_matches('/').to_owned())
}

fn tester_address(text: &str) -> Option<u16> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.ok().filter(|address| (0x0E00..=0x0FFF).contains(address))
}
