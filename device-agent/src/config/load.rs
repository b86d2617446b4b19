//! Reads the settings by their table of keys.

use fleet_settings::{Program, Reader, Settings};

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
        let broker = reader.parsed("broker.url", broker);
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

fn broker(text: &str) -> Option<Broker> {
    let (host, port) = text
        .strip_prefix("mqtt://")?
        .trim_end_matches('/')
        .rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let plain = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "/@?#".contains(c));
    plain.then(|| Broker {
        host: host.to_owned(),
        port,
    })
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
